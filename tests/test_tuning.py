"""Choosing settings: labels held out, stability over seeds, studies that go on where they were stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genmix import DNNMixture, GANMixture, MinMaxStep
from genmix.evaluation.tuning import hold_out, tune

STEP = MinMaxStep(steps=20, batch_size=32, encoder_pretrain_steps=60, generator_pretrain_steps=0)
QUICK = {"init": "kmeans", "max_iter": 2, "tol": None, "m_step": STEP, "device": "cpu"}


@pytest.fixture(scope="module")
def groups() -> tuple[np.ndarray, np.ndarray]:
    """Three groups that nobody can mistake."""
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1, 2], 60)
    return rng.standard_normal((180, 4)) * 0.3 + 5 * np.eye(3, 4)[y], y


def template(**changes: Any) -> DNNMixture:
    return DNNMixture(2, **{**QUICK, "generate": False, **changes})


# ---------------------------------------------------------------- labels held out


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_held_out_labels_are_hidden_from_each_class_alike(share: float) -> None:
    y = np.repeat([4, -1, 7], [40, 30, 80])
    held = hold_out(y, share, 0)
    assert (y[held.hidden] == held.truth).all() and (held.y[held.hidden] == -1).all()
    counts = [int((held.truth == c).sum()) for c in (4, 7)]
    assert counts == [round(40 * share), round(80 * share)]
    assert sorted([*held.known, *held.hidden]) == np.flatnonzero(y != -1).tolist()
    assert (hold_out(y, share, 0).hidden == held.hidden).all()
    assert set(hold_out(y, share, 1).hidden) != set(held.hidden)


def test_every_class_keeps_a_label_and_loses_one() -> None:
    held = hold_out(np.array([0, 0, 1, 1, 2, 2, -1]), 0.01, 0)
    assert sorted(held.truth) == [0, 1, 2] and sorted(held.y[held.known]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("y", "share", "message"),
    [
        ([0, 0, 1], 0.3, "at least two"),
        ([-1, -1], 0.3, "at least two"),
        ([0, 0, 1, 1], 0.0, "above 0 and below 1"),
        ([0, 0, 1, 1], 1.0, "above 0 and below 1"),
        (["a", "a"], 0.3, "whole number"),
        ([[0, 1], [0, 1]], 0.3, "whole number"),
    ],
)
def test_what_cannot_be_held_out_is_refused(y: list[Any], share: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hold_out(y, share, 0)


def test_accuracy_is_of_hidden_labels_and_a_discovered_component_is_no_class() -> None:
    held = hold_out(np.array([5, 5, 9, 9]), 0.5, 0)
    model = template()
    model.n_components, model.classes_ = 3, np.array([5, 9])
    model.labels_ = np.array([0, 0, 1, 1])
    assert held.accuracy(model) == 1.0
    model.labels_ = np.array([2, 2, 1, 1])
    assert held.accuracy(model) == 0.5


# ---------------------------------------------------------------- the search


def test_labels_choose_the_number_of_components(groups: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = groups
    known = np.where(np.arange(len(y)) % 3 == 0, y, -1)
    lines: list[str] = []
    found = tune(template(), X, known, n_components=[3, 6, 3], n_trials=9, echo=lines.append)
    assert sorted(trial.parameters["n_components"] for trial in found.trials) == [3, 6]  # each once
    assert found.best.n_components == max(found.trials, key=lambda t: t.score).parameters["n_components"]
    assert max(trial.score for trial in found.trials) == 1.0
    assert found.judged_by == "accuracy on 18 labels held out" and len(lines) == 2
    assert (found.best.fit(X, known).predict(X) == y).mean() > 0.9


def test_without_labels_two_seeds_are_compared(groups: tuple[np.ndarray, np.ndarray]) -> None:
    found = tune(template(), groups[0], n_components=[3])
    assert found.judged_by.endswith("two seeds") and found.trials[0].score > 0.9


def test_lambdas_are_searched_on_the_given_ranges(groups: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = groups
    model = template(
        generate=True, max_iter=1, m_step=MinMaxStep(steps=1, batch_size=8, encoder_pretrain_steps=2)
    )
    found = tune(model, X, y, n_components=[3], n_trials=3, cycle=(0.01, 0.1), adversarial=(0.5, 2.0))
    assert len(found.trials) == 3
    for trial in found.trials:
        assert 0.01 <= trial.parameters["cycle"] <= 0.1 and 0.5 <= trial.parameters["adversarial"] <= 2
    best = max(found.trials, key=lambda t: t.score).parameters
    assert found.best.m_step.cycle_weight == best["cycle"]
    assert found.best.m_step.adversarial_weight == best["adversarial"]
    assert found.best.m_step.steps == 1 and not hasattr(found.best, "labels_")
    assert model.m_step.cycle_weight == 0.01 and model.n_components == 2  # the template is left alone


def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path, groups: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = groups
    path, lines = tmp_path / "study.log", []
    tune(template(), X, y, n_components=[3, 4], study=path, echo=lines.append)
    assert len(lines) == 2
    again = tune(template(), X, y, n_components=[3, 4], study=path, echo=lines.append)
    assert len(lines) == 2 and len(again.trials) == 2
    other = tune(template(), X + 1, y, n_components=[3, 4], study=path, echo=lines.append)
    assert len(lines) == 4 and len(other.trials) == 2  # other data, other trials


def test_a_choice_that_was_being_tried_when_the_process_died_is_tried_again(
    tmp_path: Path, groups: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = groups
    call = {"n_components": [3, 4, 5], "study": tmp_path / "study.log"}
    fit, fits = DNNMixture.fit, []

    def dies(self: DNNMixture, *args: Any) -> DNNMixture:
        fits.append(self.n_components)
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(self, *args)

    monkeypatch.setattr(DNNMixture, "fit", dies)
    with pytest.raises(KeyboardInterrupt):
        tune(template(), X, y, **call)
    found = tune(template(), X, y, **call)
    assert sorted(t.parameters["n_components"] for t in found.trials if t.score == t.score) == [3, 4, 5]


def test_a_study_whose_last_line_was_cut_short_goes_on(
    tmp_path: Path, groups: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = groups
    path, lines = tmp_path / "study.log", []
    tune(template(), X, y, n_components=[3, 4], study=path, echo=lines.append)
    path.write_bytes(path.read_bytes()[:-30])  # the end of the last trial
    for expected in (3, 3):
        tuned = tune(template(), X, y, n_components=[3, 4], study=path, echo=lines.append)
        assert len(lines) == expected and {t.parameters["n_components"] for t in tuned.trials} == {3, 4}


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"{}\n", b"[0]\n", b"\xff\n", b"\n\n", b"[" * 100_000, None]
)
def test_a_file_of_something_else_is_no_study_and_stays_as_it_is(
    content: bytes | None, tmp_path: Path, groups: tuple[np.ndarray, np.ndarray]
) -> None:
    path = tmp_path / "notes"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match="notes is no study of genmix tune"):
        tune(template(), *groups, n_components=[3], study=path)
    assert list(tmp_path.iterdir()) == [path] and (content is None or path.read_bytes() == content)


@pytest.mark.parametrize("line", ["{}", "null", "[", '{"op_code": 4}', '{"op_code": 99, "worker_id": "a"}'])
def test_a_study_of_damaged_lines_is_refused_and_stays_as_it_is(
    line: str, tmp_path: Path, groups: tuple[np.ndarray, np.ndarray]
) -> None:
    path = tmp_path / "study"
    start = '{"op_code": 0, "worker_id": "w", "study_name": "n", "directions": [2]}'
    path.write_text(f"{start}\n{line}\n")
    with pytest.raises(
        ValueError, match=r"study is (no|a damaged) study of genmix tune.*choose a new"
    ) as caught:
        tune(template(), *groups, n_components=[3], study=path)
    assert "\n" not in str(caught.value) and path.read_text() == f"{start}\n{line}\n"


def test_frames_are_tuned_on(groups: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = groups
    found = [tune(template(), data, y, n_components=[3]) for data in (X, pd.DataFrame(X))]
    assert found[0].trials[0].score == found[1].trials[0].score


def test_says_when_every_trial_diverged(
    groups: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(self: DNNMixture, *_: Any) -> DNNMixture:
        raise FloatingPointError("training diverged")

    monkeypatch.setattr(DNNMixture, "fit", diverges)
    with pytest.raises(ValueError, match="diverged in every trial"):
        tune(template(), *groups, n_components=[3])


@pytest.mark.parametrize(
    ("model", "y", "changes", "message"),
    [
        (GANMixture(2), True, {}, "learns without labels"),
        (template(), True, {"cycle": (0.1, 1.0)}, "generate=True"),
        (GANMixture(2), False, {"adversarial": (0.1, 1.0)}, "generate=True"),
        (template(), True, {"n_components": [2]}, "fewer than the 3 classes"),
        (template(), False, {"n_components": []}, "at least 2"),
        (template(), False, {"n_trials": 0}, "at least 1"),
        (template(), False, {"n_components": [1, 2]}, "at least 2"),
        (template(), False, {"n_components": 2}, "at least 2, a list"),
        (template(), False, {"n_components": [2.5]}, "at least 2"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    groups: tuple[np.ndarray, np.ndarray], model: Any, y: bool, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tune(model, groups[0], groups[1] if y else None, **{"n_components": [3], **changes})


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch, groups: tuple[np.ndarray, np.ndarray]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ImportError, match="genmix\\[tune\\]"):
        tune(template(), groups[0], n_components=[3])
