"""Figures: they draw what they are given, touch no global state, and keep one colour a cluster."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from genmix import plots
from genmix.plots.axes import shorten
from genmix.plots.pictures import image_style, is_images, mosaic, png, to_rgba


def drawn(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


def test_palette_is_stable_distinct_and_grows():
    for n in (0, 1, 10, 11, 30, 100):
        colors = plots.palette(n)
        assert len(colors) == len(set(colors)) == n
        assert colors == plots.palette(100)[:n]
    assert len(plots.palette(500)) == 500  # repeats, but never fails
    with pytest.raises(ValueError, match="-1"):
        plots.palette(-1)


def test_palette_colours_are_visible_on_light_and_dark_pages():
    def luminance(color):
        value = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    def contrast(a, b):
        low, high = sorted((luminance(a), luminance(b)))
        return (high + 0.05) / (low + 0.05)

    for color in plots.palette(30):
        assert contrast(color, "#ffffff") >= 2
        assert contrast(color, "#14171c") >= 2
        assert contrast(color, plots.text_on(color)) >= 4.2


@pytest.mark.parametrize(
    ("shape", "channels_first"),
    [((9, 6, 5), False), ((9, 6, 5, 3), False), ((9, 3, 6, 5), True), ((9, 1, 6, 5), True)],
)
def test_images_of_every_layout_become_rgba(shape, channels_first):
    images = np.random.default_rng(0).random(shape)
    style = image_style(images)
    assert style.channels_first is channels_first
    assert to_rgba(images, style).shape == (9, 6, 5, 4)
    assert is_images(images)
    assert not is_images(images[:, 0, 0])


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.array([0, 200], np.uint8), 0, 255),
        (np.array([0, 7], np.uint8), 0, 7),
        (np.array([0.0, 0.9]), 0, 1),
        (np.array([-0.9, 0.9]), -1, 1),
        (np.array([0.0, 16.0]), 0, 16),
        (np.array([3.0, 3.0]), 3, 4),
    ],
)
def test_pixel_range(values, low, high):
    style = image_style(np.tile(values, (2, 3, 1)))
    assert (style.low, style.high) == (low, high)


def test_colour_images_keep_their_colours_and_grey_ones_are_ink():
    red = np.zeros((1, 3, 4, 4))
    red[:, 0] = 1
    assert to_rgba(red, image_style(red))[0, 0, 0].tolist() == [255, 0, 0, 255]
    strokes = np.zeros((2, 8, 8))
    strokes[:, 3] = 1
    style = image_style(strokes)
    rgba = to_rgba(strokes, style, "#102030")
    assert style.ink
    assert rgba[0, 3, 0].tolist() == [16, 32, 48, 255]
    assert rgba[0, 0, 0, 3] == 0
    assert not image_style(np.random.default_rng(0).random((2, 8, 8))).ink


def test_large_images_shrink_and_bad_shapes_are_named():
    big = np.random.default_rng(0).random((1, 128, 200, 3))
    assert to_rgba(big, image_style(big)).shape == (1, 40, 64, 4)
    with pytest.raises(ValueError, match="2 dimensions"):
        image_style(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="channels"):
        image_style(np.zeros((3, 5, 5, 7)))


def test_mosaic_puts_pictures_in_reading_order():
    pictures = np.zeros((3, 2, 2, 4), np.uint8)
    pictures[..., 0] = np.array([10, 20, 30])[:, None, None]
    sheet = mosaic(pictures, columns=2)
    assert sheet.shape == (5, 5, 4)
    assert (sheet[0, 0, 0], sheet[0, 3, 0], sheet[3, 0, 0]) == (10, 20, 30)
    assert png(sheet) == png(sheet.copy())


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 8, 8, 3), (5, 3, 8, 8)])
def test_component_samples_of_images_has_a_row_a_component(shape):
    random = np.random.default_rng(0)
    figure = plots.component_samples(
        {0: random.random(shape), 3: random.random(shape)}, {0: random.random(shape)}
    )
    assert len(figure.axes) == 4
    assert len(figure.axes[0].images) == 1
    assert len(figure.axes[3].images) == 0  # component 3 has no real image beside it
    assert drawn(figure)


def test_component_samples_of_tables_shows_generated_in_colour_and_real_in_grey():
    random = np.random.default_rng(0)
    X = random.normal(size=(40, 3))
    names = ["a", "$b$", "<script>"]
    figure = plots.component_samples({1: X + 1}, {1: X}, reference=X, feature_names=names)
    axis = figure.axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["a", r"\$b\$", "<script>"]
    assert to_hex(axis.collections[-1].get_facecolor()[0]) == plots.palette(2)[1]
    real, generated = (axis.collections[i].get_offsets()[:, 0] for i in (1, 3))
    np.testing.assert_allclose(generated - real, 1 / X.std(0), rtol=1e-6)
    assert drawn(figure)


def test_component_samples_of_wide_tables_shows_the_telling_features():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 50))
    groups = {0: X[:30], 1: X[30:] + 5 * (np.arange(50) == 41)}
    figure = plots.component_samples(groups, groups)
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert len(labels) == 20
    assert "feature 41" in labels


def test_component_samples_needs_real_items():
    with pytest.raises(ValueError, match="reference=X"):
        plots.component_samples({0: np.zeros((3, 2))}, {})


@pytest.mark.parametrize(("table", "names"), [([[1, 2]], ["a"]), ([1, 2], ["a", "b"]), ([[1]], ["a", "b"])])
def test_confusion_needs_a_name_for_each_class(table, names):
    with pytest.raises(ValueError, match="and C names"):
        plots.confusion(table, names)


def test_component_samples_needs_a_component():
    with pytest.raises(ValueError, match="empty"):
        plots.component_samples({}, {})


def test_map_numbers_each_cluster_where_its_points_are():
    random = np.random.default_rng(0)
    points = np.concatenate([random.normal(c, 0.1, (50, 2)) for c in ((0, 0), (5, 5), (-5, 5))])
    labels = np.repeat([0, 2, 2], 50)  # two islands: the number stands on one of them
    figure = plots.map_2d(points, labels, np.linspace(0, 1, 150))
    places = {text.get_text(): np.array(text.get_position()) for text in figure.axes[0].texts}
    assert set(places) == {"0", "2"}
    assert np.linalg.norm(places["0"]) < 0.5
    assert min(np.linalg.norm(places["2"] - center) for center in ((5, 5), (-5, 5))) < 0.5
    assert drawn(figure)


def test_certainty_and_sizes_keep_empty_clusters_in_place():
    certainty, labels = np.array([0.5, 0.9, 1.0]), np.array([0, 2, 2])
    figure = plots.certainty_histogram(certainty, labels, n_components=4)
    assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["0", "1", "2", "3"]
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == pytest.approx(100)
    assert len(plots.certainty_histogram(certainty).axes) == 1
    sizes = plots.cluster_sizes([1, 0, 2], [0.3, 0.1, 0.6])
    assert [bar.get_width() for bar in sizes.axes[0].patches] == [1, 0, 2]
    assert [to_hex(bar.get_facecolor()) for bar in sizes.axes[0].patches] == plots.palette(3)
    assert drawn(sizes)


def test_reliability_has_a_dot_for_each_bin():
    bins = [{"certainty": 0.55, "accuracy": 0.4, "size": 3}, {"certainty": 0.95, "accuracy": 0.9, "size": 9}]
    figure = plots.reliability({"error": 0.07, "bins": bins})
    dots = figure.axes[0].collections[0]
    np.testing.assert_allclose(dots.get_offsets(), [[0.55, 0.4], [0.95, 0.9]])
    assert dots.get_sizes()[0] < dots.get_sizes()[1]
    assert drawn(figure)


def test_training_curves_bear_gaps():
    history = [
        {"iteration": 1, "changed": 1.0, "critic_loss": [1.0, 2.0], "note": "text", "seconds": 3},
        {"iteration": 2, "changed": float("nan"), "generator_loss": None, "own_measure": float("inf")},
        {"iteration": 3, "changed": 0.2, "critic_loss": [1.5, float("nan")], "zeta": 4},
        {},
    ]
    assert plots.curve_keys(history) == ["changed", "critic_loss", "zeta"]
    figure = plots.training_curves(history)
    changed, critic = figure.axes[0].lines[0], figure.axes[1].lines
    np.testing.assert_array_equal(changed.get_ydata(), [1.0, np.nan, 0.2, np.nan])
    assert [to_hex(line.get_color()) for line in critic] == plots.palette(2)  # a line a component
    assert drawn(figure)
    with pytest.raises(ValueError, match="no finite"):
        plots.training_curves([{"changed": float("nan")}])
    assert plots.curve_keys([]) == []


def test_confusion_puts_matches_on_the_diagonal():
    figure = plots.confusion([[0, 9, 1], [0, 0, 8], [7, 2, 0]], ["cat", "dog", "a long name of a class"])
    axis = figure.axes[0]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["dog", "a long name o…", "cat"]
    texts = {tuple(map(int, text.get_position())): text.get_text() for text in axis.texts}
    assert [texts[i, i] for i in range(3)] == ["9", "8", "7"]
    assert drawn(figure)


def test_more_clusters_than_classes_and_many_classes():
    assert drawn(plots.confusion(np.eye(5, 2, dtype=int), ["a", "b"]))
    assert drawn(plots.confusion(np.eye(3, 30, dtype=int), [str(i) for i in range(30)]))


def test_names_with_dollars_are_no_mathematics():
    assert drawn(plots.confusion([[1]], ["$x^$ $"]))
    assert shorten("x" * 100, 10) == "x" * 9 + "…"


def test_matplotlib_state_is_untouched():
    before = dict(matplotlib.rcParams)
    drawn(plots.cluster_sizes([1, 2]))
    assert dict(matplotlib.rcParams) == before
    import matplotlib._pylab_helpers as helpers

    assert not helpers.Gcf.get_all_fig_managers()
