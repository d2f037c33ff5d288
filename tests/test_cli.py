"""The command line with the real library behind it: every verb, good input and bad."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, make_blobs

import genmix
from genmix.base import registry as models
from genmix.cli import main
from genmix.cli.verbs import fit

K = 3
TINY = ("--max-iter", "2", "--set", "init=kmeans", "--no-progress")  # two seconds, not twenty


@pytest.fixture
def run(capsys):
    """Run one command; gives its exit code, standard output and standard error."""

    def command(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def fit_quickly(*words):
    assert main(["fit", *map(str, words), *TINY]) == 0


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """A table of 60 rows with its labels in the column `kind`, and a model of it."""
    folder = tmp_path_factory.mktemp("blobs")
    X, y = make_blobs(60, 4, centers=K, random_state=0)
    with (folder / "blobs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "d", "kind"])
        writer.writerows([*row, f"kind {label}"] for row, label in zip(X.tolist(), y, strict=True))
    np.savez(folder / "blobs.npz", X=X, y=y)
    np.save(folder / "blobs.npy", X)
    fit_quickly(folder / "blobs.csv", "--labels-column", "kind", "--components", K, "--out", folder / "model")
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Images of 60 digits, and a model of two components of them."""
    folder = tmp_path_factory.mktemp("digits")
    np.save(folder / "digits.npy", (load_digits().images[:60] * 15).astype(np.uint8))
    fit_quickly(folder / "digits.npy", "--components", 2, "--out", folder / "model")
    return folder


SHORT = ("--set", "init=kmeans", "--set", "max_iter=1", "--set", "tol=none")


@pytest.fixture(scope="module")
def walker(digits):
    """A model with a latent space."""
    model = genmix.DNNMixture(
        2, init="kmeans", max_iter=1, tol=None, random_state=0, device="cpu",
        m_step=genmix.MinMaxStep(steps=2, encoder_pretrain_steps=5, generator_pretrain_steps=5),
    )  # fmt: skip
    model.fit(np.load(digits / "digits.npy")).save(digits / "walker")
    return digits / "walker"


@pytest.mark.parametrize("ending", ["npz", "png"])
def test_interpolate_writes_the_walk_between_two_components(run, tmp_path, walker, ending):
    path = tmp_path / f"walk.{ending}"
    code, out, _ = run("interpolate", walker, "--from", 1, "--to", 0, "--steps", 5, "--out", path)
    assert code == 0 and "5 steps from component 1 to 0" in out
    if ending == "png":
        with Image.open(path) as picture:
            assert picture.width > 5 * 56
        return
    found = np.load(path)
    assert found["share"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_array_equal(found["X"], genmix.load(walker).interpolate(1, 0, 5))


def test_interpolate_refuses_components_that_are_not_there(run, tmp_path, walker):
    code, _, err = run("interpolate", walker, "--from", 0, "--to", 2, "--out", tmp_path / "walk.npz")
    assert code == 2 and "component 2 does not exist" in err
    code, _, err = run("interpolate", walker, "--from", 0, "--to", 1, "--out", tmp_path / "walk.csv")
    assert code == 2 and "generates images" in err and not (tmp_path / "walk.csv").exists()


def test_tune_shows_every_choice_and_saves_the_best_fitted_on_all_labels(run, tmp_path, blobs):
    y = np.load(blobs / "blobs.npz")["y"]
    np.save(tmp_path / "known.npy", np.where(np.arange(60) % 2, y, -1))
    words = (
        "tune",
        blobs / "blobs.npy",
        "--components",
        K,
        K + 1,
        "--labels",
        tmp_path / "known.npy",
        *SHORT,
    )
    words += ("--set", "generate=false", "--study", tmp_path / "study.log")
    code, out, err = run(*words, "--out", tmp_path / "best")
    assert code == 0, err
    assert len(re.findall(r"^n_components=", out, re.M)) == 2 and "9 labels held out" in out
    model = genmix.load(tmp_path / "best")
    assert model.n_components in (K, K + 1) and not model.generate
    assert (model.labels_[1::2] == y[1::2]).all()  # all labels were given, those held out too
    code, again, _ = run(*words)  # the study has all of it
    assert code == 0 and "n_components=" not in again


def test_fit_says_what_it_did_and_warns_in_one_line(run, tmp_path, blobs):
    code, out, err = run(
        "fit", blobs / "blobs.npy", "--components", K, "--out", tmp_path / "new" / "model", "--seed", 5, *TINY
    )
    assert code == 0
    assert re.search(rf"60 rows of .*, {K} components, 2 iterations \(not converged\)", out)
    assert all(line.startswith("genmix: warning: ") for line in err.splitlines())
    assert "did not converge" in err
    model = genmix.load(tmp_path / "new" / "model")
    parameters = model.get_params()
    assert (parameters["n_components"], parameters["max_iter"], parameters["random_state"]) == (K, 2, 5)
    shares = re.search("shares: (.*)", out).group(1).split()
    np.testing.assert_allclose(np.array(shares, float), model.weights_, atol=5e-4)


def test_set_reaches_every_parameter_and_wins(run, tmp_path, blobs):
    out = tmp_path / "model"
    fit_quickly(
        blobs / "blobs.npy", "--components", K, "--out", out, "--set", "tol=0.25", "--set", "max_iter=1"
    )
    parameters = genmix.load(out).get_params()
    assert (parameters["tol"], parameters["max_iter"]) == (0.25, 1)


def test_set_makes_settings_objects_of_tables(run, tmp_path, blobs):
    command = ("fit", blobs / "blobs.npy", "--components", K, "--out", tmp_path / "model", *TINY)
    assert run(*command, "--set", 'm_step={type="MStep", steps=3, batch_size=8}')[0] == 0
    assert genmix.load(tmp_path / "model").m_step == genmix.MStep(steps=3, batch_size=8)
    made = models.build("dnnmm", K, None, {"m_step": {"steps": 40}, "networks": {"encoder": {"kind": "mlp"}}})
    assert made.m_step == genmix.MinMaxStep(steps=40) and made.networks == {"encoder": {"kind": "mlp"}}
    made = models.build("dec", K, None, {"pretraining": {"hidden": [8], "steps": 3}})
    assert (made.pretraining.hidden, made.pretraining.steps) == ([8], 3)
    for wrong, word in (
        ('{type="Step"}', "expected one of"),
        ('{type="MStep", step=3}', "has no 'step'"),
        ("{step=3}", "MStep has no 'step'"),
    ):
        code, _, err = run(*command, "--set", f"m_step={wrong}")
        assert code == 2 and word in err
    code, _, err = run(*command, "--set", "augmentation={n_neighbors=3}")
    assert code == 2 and "name what it is by type=..., one of " in err


def test_set_reaches_single_settings_by_nested_names(run, tmp_path, blobs):
    command = ("fit", blobs / "blobs.npy", "--components", K, "--out", tmp_path / "model", *TINY)
    assert run(*command, "--set", "m_step__steps=3", "--set", "e_step__lr=0.01")[0] == 0
    model = genmix.load(tmp_path / "model")
    assert model.m_step == genmix.MStep(steps=3) and model.e_step == genmix.ClassifierEStep(lr=0.01)
    assert models.build("ganmm", K, None, {"m_step": {"steps": 3}}).m_step == genmix.MStep(steps=3)
    code, _, err = run(*command, "--set", "m_step__step=3")
    assert code == 2 and "MStep has no 'step'; it has objective" in err


def test_unknown_settings_are_refused_with_the_list_of_valid_ones(run, tmp_path, blobs):
    command = ("fit", blobs / "blobs.npy", "--components", K, "--out", tmp_path / "model")
    code, _, err = run(*command, "--set", "learning_speed=3")
    assert code == 2
    assert "'learning_speed'" in err
    valid = set(genmix.GANMixture().get_params(deep=False)) - {"n_components"}
    assert all(name in err for name in valid)


def test_a_preset_is_the_start_and_options_override_it(tmp_path, blobs):
    model = models.build("ganmm", 4, "ganmm-2018-code", {"max_iter": 2})
    assert model.get_params() == genmix.GANMixture.preset("ganmm-2018-code", 4, max_iter=2).get_params()


def test_labels_are_asked_for_where_a_model_needs_them_and_refused_where_it_has_no_use(run, tmp_path, blobs):
    words = ["fit", blobs / "blobs.npy", "--components", "3", "--out", tmp_path / "model", "--model"]
    code, _, err = run(*words, "fixmatch")
    assert code == 2 and "give a file of them with --labels" in err
    code, _, err = run(*words, "dec", "--labels", tmp_path / "labels.csv")
    assert code == 2 and "dec learns without labels" in err and "fixmatch" in err


def test_a_rival_is_fitted_saved_and_asked(run, tmp_path, blobs):
    model, out = tmp_path / "model", tmp_path / "found.csv"
    code, text, _ = run("fit", blobs / "blobs.npy", "--components", "3", "--model", "kmeans", "--out", model)
    assert code == 0 and text.startswith("KMeans: ") and "shares: " in text
    assert run("predict", model, blobs / "blobs.npy", "--out", out)[0] == 0
    assert type(genmix.load(model)).__name__ == "KMeans" and out.exists()


def test_models_named_in_the_help_are_those_that_can_be_built():
    hint = get_type_hints(fit, include_extras=False)["model"]
    assert set(get_args(hint)) == set(models.NAMED)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_predict_writes_labels_certainty_and_memberships(run, tmp_path, blobs, suffix):
    path = tmp_path / f"labels{suffix}"
    code, _, err = run("predict", blobs / "model", blobs / "blobs.npy", "--out", path)
    assert (code, err) == (0, "")
    X = np.load(blobs / "blobs.npy")
    with pytest.warns(UserWarning, match="was fitted with feature names"):  # those of the table's columns
        memberships = genmix.load(blobs / "model").predict_proba(X)
    written = read_predictions(path)
    np.testing.assert_array_equal(written["memberships"], memberships)
    np.testing.assert_array_equal(written["label"], memberships.argmax(axis=1))
    np.testing.assert_array_equal(written["certainty"], memberships.max(axis=1))


def write_table(path, names, X, more=()):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *(name for name, _ in more)])
        writer.writerows([*row, *(values[i] for _, values in more)] for i, row in enumerate(X.tolist()))
    return path


def test_columns_are_found_by_their_names(run, tmp_path, blobs):
    X, order = np.load(blobs / "blobs.npy"), [2, 0, 3, 1]
    swapped = write_table(tmp_path / "swapped.csv", "cadb", X[:, order], [("extra", np.arange(60.0))])
    for name, data in (("right", blobs / "blobs.npy"), ("found", swapped)):
        code, _, err = run("predict", blobs / "model", data, "--out", tmp_path / f"{name}.npz")
        assert code == 0 and err.count("not used: extra") == (name == "found")
    right, found = (read_predictions(tmp_path / f"{name}.npz") for name in ("right", "found"))
    np.testing.assert_array_equal(found["memberships"], right["memberships"])
    other = write_table(tmp_path / "other.csv", "abcx", X)
    for words in (("predict", "--out", tmp_path / "x.csv"), ("report", "--out", tmp_path / "x.html")):
        code, _, err = run(words[0], blobs / "model", other, *words[1:])
        assert code == 2 and "no column 'd', which the model was fitted on: it has a, b, c, x" in err
    np.testing.assert_array_equal(genmix.load(blobs / "model").feature_names_in_, list("abcd"))


@pytest.mark.parametrize("options", [("--labels-column", "label"), ()])
def test_nobody_learns_from_the_answers(run, tmp_path, options):
    X, y = make_blobs(60, 4, centers=K, random_state=0)
    table = write_table(tmp_path / "table.csv", "abcd", X, [("label", y)])
    words = (table, "--components", K, "--labels", table, *options, "--out", tmp_path / "out")
    code, _, err = run("fit", *words, "--model", "ss-kmeans")
    assert (code, err) == (0, "") and genmix.load(tmp_path / "out").n_features_in_ == 4


def test_named_labels_teach_and_are_named(run, tmp_path, blobs):
    (tmp_path / "known.csv").write_text("kind\n" + "ant\n" * 10 + "bee\n" * 10 + '""\n' * 40)
    words = (
        blobs / "blobs.npy",
        "--components",
        K,
        "--labels",
        tmp_path / "known.csv",
        "--out",
        tmp_path / "m",
    )
    code, out, _ = run("fit", *words, "--model", "ss-kmeans")
    assert code == 0 and "classes: 0 is ant, 1 is bee" in out
    assert genmix.load(tmp_path / "m").labels_[:20].tolist() == [0] * 10 + [1] * 10


def test_columns_that_are_not_used_are_said(run, tmp_path):
    (tmp_path / "table.csv").write_text(",a,who,b\n" + "".join(f"{i},{i % 2},x,{i}.5\n" for i in range(9)))
    words = ("fit", tmp_path / "table.csv", "--model", "kmeans", "--components", 2, "--out", tmp_path / "m")
    code, _, err = run(*words)
    assert code == 0 and "columns of table that are not used: the first, without a name, who" in err
    assert genmix.load(tmp_path / "m").feature_names_in_.tolist() == ["a", "b"]


def test_a_checkpoint_inside_the_model_is_refused_before_the_fit(run, tmp_path, blobs):
    for inside in ("m", "m/kept"):
        words = ("--components", K, "--out", tmp_path / "m", "--checkpoint", tmp_path / inside)
        code, _, err = run("fit", blobs / "blobs.npy", *words)
        assert code == 2 and "lies in --out" in err and not (tmp_path / "m").exists()


def test_predict_leaves_doubtful_rows_undecided(run, tmp_path, blobs):
    path = tmp_path / "labels.npz"
    code, out, _ = run("predict", blobs / "model", blobs / "blobs.npy", "--out", path, "--abstain", "0.9")
    written = read_predictions(path)
    np.testing.assert_array_equal(written["label"] == -1, written["certainty"] < 0.9)
    assert code == 0 and f"{(written['label'] == -1).sum()} undecided" in out
    code, _, err = run("predict", blobs / "model", blobs / "blobs.npy", "--out", path, "--abstain", "90")
    assert code == 2 and "0 to 1" in err


def read_predictions(path):
    if path.suffix == ".npz":
        return dict(np.load(path))
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        table = {name: np.array(column) for name, column in parquet.read_table(path).to_pydict().items()}
    else:
        with path.open() as file:
            header, *rows = csv.reader(file)
        table = dict(zip(header, np.array(rows, float).T, strict=True))
    memberships = np.column_stack([table[f"membership_{k}"] for k in range(K)])
    return {"label": table["label"], "certainty": table["certainty"], "memberships": memberships}


def test_sample_draws_a_grid_of_images(run, tmp_path, digits):
    code, _, err = run("sample", digits / "model", "--n", 5, "--out", tmp_path / "grid.png")
    assert (code, err) == (0, "")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 5 * 56
        assert 2 * 56 < picture.height < 3 * 56


def test_sample_of_one_component_in_the_units_of_the_data(run, tmp_path, digits, blobs):
    code, _, _ = run("sample", digits / "model", "--n", 5, "--component", 1, "--out", tmp_path / "x.npz")
    assert code == 0
    drawn = np.load(tmp_path / "x.npz")
    assert (drawn["X"].shape, drawn["X"].dtype) == ((5, 8, 8), np.uint8)
    assert drawn["component"].tolist() == [1] * 5
    assert run("sample", blobs / "model", "--n", 4, "--out", tmp_path / "x.csv")[0] == 0
    rows = np.loadtxt(tmp_path / "x.csv", delimiter=",", skiprows=1)
    assert rows.shape == (K * 4, 1 + 4)
    assert rows[:, 0].tolist() == sorted([0, 1, 2] * 4)


def test_sample_with_a_seed_is_repeatable(run, tmp_path, blobs):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("sample", blobs / "model", "--seed", seed, "--out", tmp_path / f"{name}.csv")[0] == 0
    texts = {name: (tmp_path / f"{name}.csv").read_text() for name in "abc"}
    assert texts["a"] == texts["b"] != texts["c"]


def test_evaluate_a_model_and_its_predictions_alike(run, tmp_path, blobs):
    options = ("--labels-column", "kind")
    code, of_model, err = run("evaluate", blobs / "model", blobs / "blobs.csv", *options)
    assert (code, err) == (0, "")
    for name in ("purity", "accuracy", "ari", "nmi", "rand index"):
        assert re.search(rf"^{name} +-?\d\.\d\d\d$", of_model, re.M), name
    assert re.search(r"^cluster  label +size  purity  certainty$", of_model, re.M)
    labels = tmp_path / "labels.csv"
    assert run("predict", blobs / "model", blobs / "blobs.npz", "--out", labels)[0] == 0
    code, of_file, _ = run("evaluate", labels, blobs / "blobs.csv", *options)
    assert code == 0
    assert scores(of_file) == scores(of_model)
    code, of_two_files, _ = run("evaluate", labels, "--labels", blobs / "blobs.csv", *options)
    assert (code, of_two_files) == (0, of_file)


def scores(printed):
    return printed.split("\n\n")[0]


def test_evaluate_knows_perfect_clusters(run, tmp_path):
    (tmp_path / "found.csv").write_text("label\n2\n2\n0\n0\n1\n")
    (tmp_path / "known.csv").write_text("kind\nx\nx\ny\ny\nz\n")
    code, out, _ = run("evaluate", tmp_path / "found.csv", "--labels", tmp_path / "known.csv")
    assert code == 0
    assert scores(out).count("1.000") == 5
    assert out.splitlines()[-1].split() == ["2", "x", "2", "1.000"]


def test_evaluate_leaves_unlabelled_rows_out_and_says_so(run, tmp_path):
    np.save(tmp_path / "found.npy", np.array([0, 0, 1, 1]))
    np.save(tmp_path / "known.npy", np.array([7, 7, 9, -1]))
    code, out, _ = run("evaluate", tmp_path / "found.npy", "--labels", tmp_path / "known.npy")
    assert code == 0
    assert "left out: 1 rows without a label" in out
    assert re.search(r"^accuracy +1\.000$", out, re.M)


def test_evaluate_leaves_undecided_rows_out_and_says_so(run, tmp_path):
    np.save(tmp_path / "found.npy", np.array([0, 0, 1, -1]))
    np.save(tmp_path / "known.npy", np.array([7, 7, 9, 9]))
    code, out, _ = run("evaluate", tmp_path / "found.npy", "--labels", tmp_path / "known.npy")
    assert code == 0 and "left out: 1 rows without a cluster, undecided" in out
    assert re.search(r"^accuracy +1\.000$", out, re.M)
    np.save(tmp_path / "known.npy", np.array([-1, -1, -1, 9]))
    code, _, err = run("evaluate", tmp_path / "found.npy", "--labels", tmp_path / "known.npy")
    assert code == 2 and "nothing to compare" in err


def test_report_shows_the_names_of_columns_and_classes(run, tmp_path, blobs):
    page, words = tmp_path / "page.html", ("--labels-column", "kind")
    assert run("report", blobs / "model", blobs / "blobs.csv", "--out", page, *words)[0] == 0
    text = page.read_text()
    assert "kind 0" in text and "feature 0" not in text


def test_report_writes_one_page(run, tmp_path, blobs):
    page = tmp_path / "report.html"
    code, _, err = run(
        "report", blobs / "model", blobs / "blobs.npz", "--out", page, "--title", "Blobs & <more>"
    )
    assert (code, err) == (0, "")
    assert "Blobs &amp; &lt;more&gt;" in page.read_text()
    assert list(tmp_path.iterdir()) == [page]


def test_datasets_lists_names_licences_and_sources(run, tmp_path):
    code, out, err = run("datasets", "--data-dir", tmp_path)
    assert (code, err) == (0, "")
    for name in ("digits", "image-segmentation", "artificial-characters", "mnist", "cifar10", "celeba-hair"):
        assert re.search(rf"^{name} ", out, re.M), name
    assert "licence" in out.splitlines()[0]


def test_version_and_help(run):
    assert run("--version") == (0, f"{genmix.__version__}\n", "")
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for verb in ("fit", "predict", "sample", "evaluate", "report", "datasets", "demo"):
        assert re.search(rf"^│ {verb} ", out, re.M), verb
        assert run(verb, "--help")[0] == 0


BAD_INPUT = [
    ("frobnicate", "frobnicate"),
    ("fit", "DATA"),
    ("fit digits", "--components"),
    ("fit digits --components 2", "--out"),
    ("fit digits --components two --out M", "two"),
    ("fit digits --components 2.5 --out M", "2.5"),
    ("fit digits --components 2 --n-samples 30.5 --out M", "30.5"),
    ("tune five.npy --components 2 3.5", "3.5"),
    ("sample MODEL --out x.csv --n 1.5", "1.5"),
    ("fit digits --components 2 --out M --model kmeanz", "kmeans"),
    ("fit digits --components 2 --out M --bogus", "--bogus"),
    ("fit digits --components 2 --out M --preset ganmm-1999", "ganmm-1999"),
    ("fit digits --components 2 --out M --set tol", "name=value"),
    ("fit digits --components 2 --out M --max-iter 0", "max_iter"),
    ("fit no-such-set --components 2 --out M", "no-such-set"),
    ("fit missing.csv --components 2 --out M", "missing.csv"),
    ("fit text.npy --components 2 --out M", "text.npy"),
    ("fit five.npy --components 6 --out M", "6"),
    ("fit nan.npy --components 2 --out M", "NaN"),
    ("fit five.npy --components 2 --out text.npy/model", "text.npy"),
    ("fit five.npy --components 2 --out full", "full"),
    ("predict missing five.npy --out labels.csv", "missing"),
    ("predict full five.npy --out labels.csv", "full"),
    ("predict MODEL five.npy --out labels.csv", "4"),
    ("predict MODEL five.npy --out labels.xls", "labels.xls"),
    ("predict MODEL missing.npy --out labels.csv", "missing.npy"),
    ("sample MODEL --out grid.png", "FILE.csv"),
    ("sample MODEL --out x.csv --n 0", "--n"),
    ("sample MODEL --out x.csv --component 3", "0 to 2"),
    ("sample MODEL --out text.npy/x.csv", "text.npy"),
    ("interpolate MODEL --from 0 --to 1 --out walk.npz", "no latent space"),
    ("interpolate MODEL --from 0 --to 1 --out walk.txt", "walk.txt"),
    ("tune five.npy --components 1 --out full", "full"),
    ("tune five.npy --components 1", "at least 2"),
    ("tune five.npy --components 2 --labels known.csv --labels-column kind", "2 labels for 5 rows"),
    ("tune five.npy --components 2 --model ganmm --cycle 0.1 1", "generate=True"),
    ("evaluate MODEL", "DATA"),
    ("evaluate found.csv", "--labels"),
    ("evaluate found.csv --labels five.npy", "(5, 2)"),
    ("evaluate found.csv --labels known.csv", "2 labels for 3 rows"),
    ("evaluate found.csv --labels known.csv --labels-column other", "'other'"),
    ("report MODEL five.npy --out page.pdf", "page.pdf"),
    ("report missing five.npy --out page.html", "missing"),
    ("demo --out text.npy", "text.npy"),
]


@pytest.mark.parametrize(("command", "names"), BAD_INPUT, ids=[command for command, _ in BAD_INPUT])
def test_bad_input_ends_with_2_and_one_line_and_writes_nothing(
    run, tmp_path, monkeypatch, blobs, command, names
):
    np.save(tmp_path / "five.npy", np.arange(10.0).reshape(5, 2))
    np.save(tmp_path / "nan.npy", np.full((5, 2), np.nan))
    (tmp_path / "text.npy").write_text("a,b\n1,2\n")
    (tmp_path / "found.csv").write_text("label\n0\n0\n1\n")
    (tmp_path / "known.csv").write_text("kind\nx\ny\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run(*command.replace("MODEL", str(blobs / "model")).split())
    assert code == 2
    assert err.startswith("genmix: ")
    assert err.count("\n") == 1
    assert names in err
    assert sorted(tmp_path.rglob("*")) == before


def test_mistakes_show_no_traceback_in_a_process_of_their_own():
    done = subprocess.run(
        [sys.executable, "-m", "genmix.cli", "fit", "missing.csv", "--components", "2", "--out", "model"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"genmix: .*missing\.csv.*\n", done.stderr)


@pytest.mark.parametrize("use", ["import genmix", "from genmix.cli import main; main(['fit', '--help'])"])
def test_import_and_help_are_quick_because_heavy_modules_wait(use):
    code = (
        f"import sys; {use}; "
        "sys.exit(bool({'torch', 'sklearn', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_ctrl_c_ends_with_130(run, monkeypatch):
    def pressed(data_dir):
        raise KeyboardInterrupt

    monkeypatch.setattr("genmix.datasets.catalogue", pressed)
    assert run("datasets") == (130, "", "genmix: interrupted\n")


def test_closed_streams_and_poor_encodings_are_no_error():
    for command, shown in (
        ("datasets >&-", ""),
        ("datasets 2>&-", "digits"),
        ("fit missing.csv --components 2 --out model 2>&-", ""),
    ):
        line = f"{sys.executable} -m genmix.cli {command}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)  # noqa: S607
        assert done.returncode == (2 if "missing" in command else 0) and shown in done.stdout
        assert "Traceback" not in done.stderr
    code = "from genmix import cli; cli._mend_streams(); print('\\u00b1')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env={"PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stdout) == (0, b"?\n")


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m genmix.cli datasets | head -n 0; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)  # noqa: S607
    assert (done.returncode, done.stderr) == (0, "")


def test_control_characters_of_names_reach_neither_terminal_nor_page(run, blobs, tmp_path):
    data, out = tmp_path / "a\x1b[31m\x9b.npy", tmp_path / "b\x1b]0;x\x07.html"
    data.write_bytes((blobs / "blobs.npy").read_bytes())
    shown = run("report", blobs / "model", data, "--out", out)
    missing = run("report", blobs / "model", tmp_path / "c\x1b.npy", "--out", out)
    model = run("predict", tmp_path / "m\x1b", data, "--out", tmp_path / "p.csv")
    assert (shown[0], missing[0], model[0]) == (0, 2, 2)
    text = "".join(map(str, (*shown[1:], *missing[1:], *model[1:]))) + out.read_text(encoding="utf-8")
    assert not set(text) & {"\x1b", "\x9b", "\x07"}
    assert "a\N{REPLACEMENT CHARACTER}[31m" in text


@pytest.mark.parametrize("length", [256, 300])
def test_names_too_long_are_told_before_anything_is_read(run, blobs, tmp_path, length):
    name, model, data = "n" * length, blobs / "model", blobs / "blobs.npy"
    for command in (
        ("fit", "no-such-data", "--components", K, "--out", tmp_path / name),
        ("fit", "no-such-data", "--components", K, "--out", tmp_path / ("n" * 300) / "m"),
        ("predict", model, "no-such-data", "--out", tmp_path / f"{name[4:]}.csv"),
        ("report", model, "no-such-data", "--out", tmp_path / f"{name[5:]}.html"),
        ("compare", "no-such-data", "--components", K, "--out", tmp_path / ("n" * 300)),
        ("predict", tmp_path / name, data, "--out", tmp_path / "p.csv"),
        ("predict", model, tmp_path / f"{name}.npy", "--out", tmp_path / "p.csv"),
    ):
        code, out, err = run(*command)
        assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("genmix: ")
        assert "no-such-data" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_one_may_not_enter_is_named(run, blobs, tmp_path, monkeypatch):
    real = Path.stat

    def refuse(path, **more):
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **more)

    monkeypatch.setattr("pathlib.Path.stat", refuse)
    code, out, err = run("predict", tmp_path / "closed" / "m", "digits", "--out", tmp_path / "p.csv")
    assert (code, out) == (2, "") and err.startswith("genmix: cannot reach ") and err.count("\n") == 1
    assert err.endswith("closed/m: Permission denied\n")
