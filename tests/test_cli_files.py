"""The parts of the command line, each on its own: settings, labels, tables, files, the grid of samples."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from genmix.cli import files, labels, samples, settings, tables


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("0.5", 0.5),
        ("5e-5", 5e-5),
        ("true", True),
        ('"two words"', "two words"),
        ("critic", "critic"),
        ("none", None),
        ("None", None),
        ('"none"', "none"),
        ("[25, 40]", [25, 40]),
        ("inf", float("inf")),
    ],
)
def test_settings_are_toml_values_or_bare_words(text, value):
    ((name, read),) = settings.read_settings([f"x = {text}"]).items()
    assert (name, read) == ("x", value)
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["max_iter"], "name=value"),
        (["=3"], "name=value"),
        (["x=1", "x=2"], "'x' twice"),
        (["x=1, 2"], "not a TOML value"),
        (["x="], "not a TOML value"),
        (["x=1\ny=2"], "one value only"),
    ],
)
def test_wrong_settings_are_named(pairs, message):
    with pytest.raises(ValueError, match=message):
        settings.read_settings(pairs)


def test_a_table_is_aligned_by_kind():
    rows = [
        {"name": "a", "n": 5, "share": 0.25, "here": True, "shape": (8, 8)},
        {"name": "long", "n": 1000, "share": 1.0, "here": False, "shape": (19,)},
    ]
    assert tables.text_table(rows).splitlines() == [
        "name     n  share  here  shape",
        "a        5  0.250  yes   8x8",
        "long  1000  1.000  no    19",
    ]


def test_a_table_has_no_line_breaks_or_escapes_in_its_cells():
    lines = tables.text_table([{"name": "a\x1b[2J\nb", "value": 1}]).split("\n")
    assert len(lines) == 2 and not set("".join(lines)) & {"\x1b"}


def test_columns_come_back_from_csv_and_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    columns = {"label": np.array([0, 2, 1]), "certainty": np.array([0.1, 1 / 3, 1.0])}
    for suffix in (".csv", ".parquet"):
        path = tmp_path / "new" / f"labels{suffix}"
        files.write_columns(path, columns)
        np.testing.assert_array_equal(labels.read_labels(path).y, columns["label"])
    with (tmp_path / "new" / "labels.csv").open() as file:
        assert [float(row["certainty"]) for row in csv.DictReader(file)] == columns["certainty"].tolist()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["labels.csv", "labels.parquet"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("the old one")
    with pytest.raises(RuntimeError), files.whole_file(path) as part:
        part.write_text("half of the new")
        raise RuntimeError
    assert path.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_of_a_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="folder"), files.whole_file(tmp_path):
        pass


def test_check_writable_leaves_no_trace_and_refuses_a_file_as_folder(tmp_path):
    files.check_writable(tmp_path / "a" / "b" / "model")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Not a directory"):
        files.check_writable(tmp_path / "file" / "model")


def test_labels_are_found_by_name_or_because_they_are_alone(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("animal,y\ncat,3\ndog,-1\n")
    np.testing.assert_array_equal(labels.read_labels(path).y, [3, -1])
    found = labels.read_labels(path, "animal")
    assert found.y.tolist() == [0, 1] and found.names == ("cat", "dog") and found.column == "animal"
    np.savez(tmp_path / "alone.npz", species=np.array([4, 5]))
    np.testing.assert_array_equal(labels.read_labels(tmp_path / "alone.npz").y, [4, 5])
    np.save(tmp_path / "plain.npy", np.array(["a", "b"]))
    assert labels.read_labels(tmp_path / "plain.npy").names == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"a,b\n1,2\n", "no label column .* a, b; choose"),
        ("x.csv", b"label\n", "no rows"),
        ("x.csv", b"label,b\n1,2\n3\n", "cannot read"),
        ("x.csv", b"label\n\xff\xfe\n", "cannot read"),
        ("x.npy", b"label\n1\n2\n", "cannot read"),
        ("x.npz", b"PK\x03\x04 not a zip", "cannot read"),
        ("x.parquet", b"PAR1 but no more", "cannot read"),
        ("x.txt", b"1\n2\n", "has to end in one of .csv"),
    ],
)
def test_broken_label_files_give_one_clear_error(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        labels.read_labels(path)


def test_pickled_labels_are_never_loaded(tmp_path):
    path = tmp_path / "labels.npy"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        labels.read_labels(path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("label\n0\n-1\n1\n", None),
        ("label\n0.0\n-1.0\n1.0\n", None),  # as pandas writes integers with gaps
        ('label\n0\n""\n1\n', None),
        ("label\nant\n-1\nbee\n", ("ant", "bee")),
        ('label\nant\n""\nbee\n', ("ant", "bee")),
        ("id;label\n7;ant\n8;\n9;bee\n", ("ant", "bee")),
        ("id\tlabel\n7\tant\n8\t\n9\tbee\n", ("ant", "bee")),
    ],
)
def test_labels_read_alike_however_they_are_written(tmp_path, text, names):
    (tmp_path / "known.csv").write_text(text)
    found = labels.read_labels(tmp_path / "known.csv")
    assert found.y.tolist() == [0, -1, 1] and found.names == names


@pytest.mark.parametrize(
    "values", [np.array([0.0, np.nan, 1.0]), np.array([0.0, -1.0, 1.0]), np.array(["a", "", "b"])]
)
def test_labels_of_arrays_may_be_missing_too(tmp_path, values):
    np.save(tmp_path / "known.npy", values)
    assert labels.read_labels(tmp_path / "known.npy").y.tolist() == [0, -1, 1]


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (3, 8, 8), (8, 8, 1)])
def test_the_grid_has_a_row_for_each_component(shape):
    rows = {"0": np.zeros((4, *shape)), "1": np.ones((4, *shape))}
    picture = np.asarray(samples.image_grid(rows))
    step = 8 * 7 + samples.GRID_GAP  # 8 pixels enlarged to at least GRID_WIDTH
    assert picture.shape == (samples.GRID_GAP + 2 * step, samples.CAPTION_WIDTH + 4 * step, 3)
    tiles = picture[:, samples.CAPTION_WIDTH :]
    first, second = tiles[samples.GRID_GAP + 28, 28], tiles[samples.GRID_GAP + step + 28, 28]
    assert {tuple(first), tuple(second)} == {(0, 0, 0), (255, 255, 255)}
    assert (picture[:, : samples.CAPTION_WIDTH] < 128).any()  # the captions


def test_samples_of_tables_are_no_pictures_and_the_other_way_round(tmp_path):
    index = {"component": np.array([0, 0, 1, 1])}
    table = {"0": np.zeros((2, 3)), "1": np.ones((2, 3))}
    images = {"0": np.zeros((2, 8, 8)), "1": np.ones((2, 8, 8))}
    with pytest.raises(ValueError, match=r"FILE\.csv"):
        samples.write_samples(tmp_path / "x.png", table, index)
    with pytest.raises(ValueError, match=r"FILE\.png"):
        samples.write_samples(tmp_path / "x.csv", images, index)
    assert list(tmp_path.iterdir()) == []
    samples.write_samples(tmp_path / "x.csv", table, index)
    assert (tmp_path / "x.csv").read_text().splitlines() == [
        "component,feature_0,feature_1,feature_2",
        *["0,0.0,0.0,0.0"] * 2,
        *["1,1.0,1.0,1.0"] * 2,
    ]
