from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from genmix import metrics
from genmix.experiments import paper

RECOMPUTED = {"GANMM": 0.7462, "GMM": 0.3460, "DEC": 0.4009, "GANMM(EM)": 0.3239}


def random_pair(rng: np.random.Generator, max_classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    n = int(rng.integers(1, 60))
    classes, clusters = rng.integers(1, max_classes + 1, 2)
    return rng.integers(0, classes, n), rng.integers(0, clusters, n)


def partition(clusters: list[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels with the given clusters; the rows outside the majority are spread over the other classes."""
    true, pred = [], []
    for cluster, (label, size, share) in enumerate(clusters):
        majority = round(size * share)
        others = [digit for digit in range(10) if digit != label]
        rest = [others[i % 9] for i in range(size - majority)]
        true += [label] * majority + rest
        pred += [cluster] * size
    return np.array(true), np.array(pred)


@pytest.mark.parametrize("method", paper.CLUSTERS)
def test_table_2_of_the_ganmm_paper_recomputes(method: str) -> None:
    clusters = [(label, n, share) for label, n, share in paper.CLUSTERS[method] if label is not None]
    true, pred = partition(clusters)
    assert metrics.purity(true, pred) == pytest.approx(RECOMPUTED[method], abs=1e-4)
    for row, (label, size, share) in zip(metrics.cluster_table(true, pred), clusters, strict=True):
        assert (row["label"], row["size"]) == (label, size)
        assert row["purity"] == pytest.approx(share, abs=1e-4 + 0.5 / size)


def test_accuracy_equals_brute_force_over_all_namings() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        true, pred = random_pair(rng)
        k = max(true.max(), pred.max()) + 1
        best = max(np.mean(np.array(names)[pred] == true) for names in permutations(range(k)))
        assert metrics.accuracy(true, pred) == pytest.approx(best, abs=1e-12)


def test_purity_equals_its_definition() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        true, pred = random_pair(rng)
        majority = sum(max(np.sum(true[pred == i] == j) for j in set(true)) for i in set(pred))
        assert metrics.purity(true, pred) == pytest.approx(majority / len(true), abs=1e-12)


def test_rand_index_equals_counting_pairs() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        true, pred = random_pair(rng)
        alike = [
            (true[i] == true[j]) == (pred[i] == pred[j]) for i in range(len(true)) for j in range(i)
        ] or [True]
        assert metrics.rand_index(true, pred) == pytest.approx(np.mean(alike), abs=1e-12)


def test_scores_equal_scikit_learn_exactly() -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        true, pred = random_pair(rng, 12)
        assert metrics.adjusted_rand_index(true, pred) == sk.adjusted_rand_score(true, pred)
        assert metrics.rand_index(true, pred) == pytest.approx(sk.rand_score(true, pred), abs=1e-12)
        assert metrics.nmi(true, pred, "arithmetic") == sk.normalized_mutual_info_score(true, pred)
        geometric = sk.normalized_mutual_info_score(true, pred, average_method="geometric")
        assert metrics.nmi(true, pred) == geometric
        table = sk.cluster.contingency_matrix(true, pred)
        np.testing.assert_array_equal(metrics.contingency(true, pred), table, strict=True)


@pytest.mark.parametrize(("k", "expected"), [(10, 0.82), (7, 0.7551)])
def test_rand_index_of_chance_is_high_and_the_adjusted_one_is_zero(k: int, expected: float) -> None:
    rng = np.random.default_rng(4)
    true, pred = np.repeat(np.arange(k), 3000), rng.permutation(np.repeat(np.arange(k), 3000))
    assert metrics.rand_index(true, pred) == pytest.approx(expected, abs=1e-3)
    assert metrics.adjusted_rand_index(true, pred) == pytest.approx(0, abs=1e-3)


def test_one_row_has_no_pairs_to_disagree_on() -> None:
    assert metrics.rand_index(["a"], [7]) == metrics.adjusted_rand_index(["a"], [7]) == 1.0


def test_rand_index_does_not_overflow_on_a_million_rows() -> None:
    true = np.arange(1_000_000) % 2
    assert metrics.rand_index(true, np.zeros_like(true)) == pytest.approx(0.5, abs=1e-5)


def test_nmi_means_differ_and_the_geometric_is_the_papers() -> None:
    true, pred = [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1]
    shared, h_true, h_pred = 0.6365141682948128, np.log(3), 0.6365141682948128
    assert metrics.nmi(true, pred) == pytest.approx(shared / np.sqrt(h_true * h_pred))
    assert metrics.nmi(true, pred, "arithmetic") == pytest.approx(2 * shared / (h_true + h_pred))
    with pytest.raises(ValueError, match="average='max'"):
        metrics.nmi(true, pred, "max")  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_renaming_clusters_or_shuffling_rows_changes_no_score(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 40))
    labels = st.lists(st.integers(0, 5), min_size=n, max_size=n)
    true, pred = np.array(data.draw(labels)), np.array(data.draw(labels))
    names = np.array(data.draw(st.permutations([70, -3, 12, 5, 999, 0])))
    order = np.array(data.draw(st.permutations(range(n))))
    expected = metrics.scores(true, pred)
    assert metrics.scores(true, names[pred]) == pytest.approx(expected, abs=1e-12)
    assert metrics.scores(true[order], pred[order]) == pytest.approx(expected, abs=1e-12)
    assert all(0 <= expected[key] <= 1 + 1e-12 for key in ("purity", "accuracy", "nmi"))
    assert expected["accuracy"] <= expected["purity"]


def test_scores_are_the_four_of_every_results_table() -> None:
    true, pred = random_pair(np.random.default_rng(5))
    assert metrics.scores(true, pred) == {
        "purity": metrics.purity(true, pred),
        "accuracy": metrics.accuracy(true, pred),
        "ari": sk.adjusted_rand_score(true, pred),
        "nmi": sk.normalized_mutual_info_score(true, pred, average_method="geometric"),
    }


def test_numbers_of_any_type_sort_as_numbers() -> None:
    labels = [np.int64(10), 2.5, 1, True, np.float32(0.5)]
    assert [row["cluster"] for row in metrics.cluster_table(labels, labels)] == [0.5, 1, 2.5, 10]


def test_any_label_types_score_alike() -> None:
    pandas, polars, torch = (pytest.importorskip(name) for name in ("pandas", "polars", "torch"))
    true = np.array([3, 3, -1, -1, 40, 40])
    pred = np.array([0, 0, 1, 1, 1, 2])
    expected = metrics.scores(true, pred)
    names = ["x" if value == 3 else "yy" if value == -1 else "z" for value in true]
    same = [
        names,
        np.array(names),
        np.array(names, dtype=object),
        true.tolist(),
        tuple(true.astype(float)),
        list(true),
        pandas.Series(names, dtype="category"),
        pandas.Series(true, dtype="Int64"),
        polars.Series(names),
        torch.tensor(true),
        torch.tensor(true).bfloat16(),
        torch.tensor(true, dtype=torch.float32, requires_grad=True),
        list(torch.tensor(true)),
        np.ma.masked_array(true, mask=False),
        ["a", "a", 1, 1, 2.5, 2.5],
        np.array(["a", "a", 1, 1, (2,), (2,)], dtype=object),
    ]
    for labels in same:
        assert metrics.scores(labels, pred) == pytest.approx(expected)
        assert metrics.scores(labels, labels) == dict.fromkeys(expected, 1.0)
    assert metrics.scores([True, False], [1, 0])["accuracy"] == 1.0


def test_more_clusters_than_classes_and_fewer() -> None:
    assert metrics.accuracy([0, 0, 0, 0], [0, 1, 2, 2]) == 0.5
    assert metrics.purity([0, 0, 0, 0], [0, 1, 2, 2]) == 1.0
    assert metrics.accuracy(["a", "b", "c", "c"], [0, 0, 0, 0]) == 0.5


def test_minus_one_is_a_class_and_never_dropped() -> None:
    assert metrics.purity([-1, -1, 0], [0, 0, 0]) == pytest.approx(2 / 3)
    assert metrics.contingency([-1, 5], [0, 0]).tolist() == [[1], [1]]


def missing_values() -> list[object]:
    pandas = pytest.importorskip("pandas")
    torch = pytest.importorskip("torch")
    return [
        [0.0, float("nan")],
        np.array([1.0, np.inf]),
        [1, None],
        ["a", float("nan")],
        pandas.Series([1, None], dtype="Int64"),
        pandas.Series(["a", None]),
        ["a", pandas.NA],
        np.array(["2020-01-01", "NaT"], dtype="datetime64[D]").astype(object),
        np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"),
        np.ma.masked_array([0, 1], [False, True]),
        [torch.tensor(0.0), torch.tensor(float("nan"))],
    ]


@pytest.mark.parametrize("position", range(11))
def test_missing_labels_are_refused(position: int) -> None:
    with pytest.raises(ValueError, match=r"labels_true holds .*leave rows without a label out"):
        metrics.scores(missing_values()[position], [0, 1])  # type: ignore[arg-type]


def test_what_an_array_of_numbers_cannot_hold_is_not_said_of_it() -> None:
    with pytest.raises(ValueError, match=r"^labels_true holds NaN, infinity or masked"):
        metrics.purity(np.array([0.0, np.nan]), [0, 1])


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        ([0, 1], [0], "labels_true has 2 rows and labels_pred 1: expected one label a row in both$"),
        ([0, 1], [0, None], "^labels_pred holds None"),
        ([0, 1], np.eye(2), "^labels_pred has shape"),
        ([], [], r"labels_true has shape \(0,\)"),
        ([[0], [1]], [0, 1], r"shape \(2, 1\)"),
        (3, [0], r"shape \(\)"),
        ([[1], [1, 2]], [0, 1], "cannot be compared"),
    ],
)
def test_bad_labels_are_refused(true: object, pred: object, message: str) -> None:
    for function in (metrics.purity, metrics.accuracy, metrics.rand_index, metrics.cluster_table):
        with pytest.raises(ValueError, match=message):
            function(true, pred)  # type: ignore[operator]


def test_cluster_table_with_certainty_and_empty_clusters() -> None:
    rows = metrics.cluster_table(
        ["a", "b", "b", "a"], [2, 0, 0, 0], certainty=[0.5, 1.0, 0.7, 0.1], clusters=range(3)
    )
    assert [row["cluster"] for row in rows] == [0, 1, 2]
    assert rows[0]["label"] == "b" and rows[0]["size"] == 3 and rows[0]["purity"] == pytest.approx(2 / 3)
    assert rows[0]["certainty"] == pytest.approx(0.6)
    assert rows[1] == {"cluster": 1, "label": None, "size": 0, "purity": 0.0, "certainty": None}
    assert rows[2] == {"cluster": 2, "label": "a", "size": 1, "purity": 1.0, "certainty": 0.5}
    assert "certainty" not in metrics.cluster_table([0], [0])[0]
    limits = metrics.cluster_table([0, 0], [0, 1], certainty=np.array([0, 1.0], dtype=object))
    assert [row["certainty"] for row in limits] == [0.0, 1.0]
    assert metrics.cluster_table([1, 0], [0, 0])[0]["label"] == 0  # a tie goes to the first class


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"certainty": [0.5]}, r"certainty has shape \(1,\)"),
        ({"certainty": [0.5, 1.5]}, "certainty runs from 0.5 to 1.5"),
        ({"certainty": [0.5, float("nan")]}, "certainty runs"),
        ({"clusters": [0]}, r"leaves out \[1\]"),
    ],
)
def test_cluster_table_refuses_bad_arguments(extra: dict[str, list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.cluster_table([0, 0], [0, 1], **extra)  # type: ignore[arg-type]


def test_calibration_by_hand() -> None:
    # clusters 0 and 1 stand for "b" and "a"; certainty .9 twice (one right), .6 twice (both right)
    memberships = [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]]
    found = metrics.calibration(["b", "b", "b", "a"], memberships)  # ten bins
    assert [(part["low"], part["high"], part["size"], part["accuracy"]) for part in found["bins"]] == [
        (0.6, 0.7, 2, 1.0), (0.9, 1.0, 2, 0.5),
    ]  # fmt: skip
    assert found["error"] == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)


def test_single_precision_falls_into_the_bin_that_holds_it() -> None:
    (only,) = metrics.calibration([0, 1], np.array([[0.9, 0.1], [0.1, 0.9]], np.float32))["bins"]
    assert only["low"] <= only["certainty"] <= only["high"]


def test_who_is_surest_of_all_is_in_the_last_bin() -> None:
    (only,) = metrics.calibration([0, 1, 1], np.eye(2)[[0, 1, 1]], n_bins=4)["bins"]
    assert only == {"low": 0.75, "high": 1.0, "size": 3, "certainty": 1.0, "accuracy": 1.0}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_calibration_agrees_with_accuracy_and_its_own_definition(seed: int, n_bins: int) -> None:
    rng = np.random.default_rng(seed)
    true, k = rng.integers(0, 4, 50), int(rng.integers(1, 6))
    memberships = rng.dirichlet(np.full(k, 0.5), 50)
    found = metrics.calibration(true, memberships, n_bins)
    sizes = np.array([part["size"] for part in found["bins"]])
    right = np.array([part["accuracy"] for part in found["bins"]])
    assert sizes.sum() == 50
    assert (sizes * right).sum() / 50 == pytest.approx(metrics.accuracy(true, memberships.argmax(1)))
    sure = np.array([part["certainty"] for part in found["bins"]])
    assert found["error"] == pytest.approx((sizes * np.abs(sure - right)).sum() / 50)
    assert all(part["low"] <= part["certainty"] <= part["high"] for part in found["bins"])


def test_memberships_drawn_from_themselves_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    memberships = rng.dirichlet([0.3, 0.3, 0.3], 20_000)
    true = (memberships.cumsum(1) < rng.random((20_000, 1))).sum(1)
    assert metrics.calibration(true, memberships)["error"] < 0.015
    sharper = memberships**3 / (memberships**3).sum(1, keepdims=True)
    assert metrics.calibration(true, sharper)["error"] > 0.1


@pytest.mark.parametrize(
    ("memberships", "n_bins", "message"),
    [
        ([0.5, 0.5], 10, r"^memberships: expected an array \(N, K\)"),
        ([[0.5, 0.6], [0.5, 0.5]], 10, "sum to 1"),
        ([[1.5, -0.5], [0.5, 0.5]], 10, "in .0, 1."),
        ([[float("nan"), 1.0], [0.5, 0.5]], 10, "in .0, 1."),
        ([[1.0, 0.0]], 10, "length|rows"),
        ([[1.0, 0.0], [1.0, 0.0]], 0, "n_bins=0"),
        ([[1.0, 0.0], [1.0, 0.0]], 2.5, "n_bins=2.5"),
        ([[1.0, 0.0], [1.0, 0.0]], True, "n_bins=True"),
    ],
)
def test_calibration_refuses_bad_arguments(memberships: list, n_bins: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.calibration([0, 1], memberships, n_bins)
