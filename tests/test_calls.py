"""Each call sees one model, in surroundings of its own: every registered model, by being registered."""

from __future__ import annotations

import itertools
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from inspect import getattr_static, isfunction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genmix import load
from genmix.base import registry
from genmix.base.calls import own_surroundings
from genmix.base.preprocessing import Preprocessing
from surroundings import global_state
from test_bad_input import MODELS, TWO_CLASSES, TWO_GROUPS

pytestmark = pytest.mark.filterwarnings("ignore")  # dead components, no convergence

each = pytest.mark.parametrize("name", registry.MODELS)

#: Two sets of items: what is learned from the one is of no use for the other.
ITEMS = (TWO_GROUPS, 7 - 90 * TWO_GROUPS[::-1])
CLASSES = (TWO_CLASSES, TWO_CLASSES[::-1])


def fitted(name: str, number: int) -> Any:
    return MODELS[name](2).fit(ITEMS[number], CLASSES[number])


#: What a fitted model can be asked, by the name of the method.
QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "predict": lambda model: model.predict(ITEMS[0]),
    "predict_proba": lambda model: model.predict_proba(ITEMS[0]),
    "score_samples": lambda model: model.score_samples(ITEMS[0]),
    "transform": lambda model: model.transform(ITEMS[0]),
    "inverse_transform": lambda model: model.inverse_transform(np.eye(model._n_features_out)),
    "interpolate": lambda model: model.interpolate(0, ITEMS[0][1], 3),
    "sample": lambda model: model.sample(5, component=1)[0],
    "pretrained": lambda model: repr(model.pretrained()),
}
#: What fits it, and answers.
FITS: dict[str, Callable[[Any, int], Any]] = {
    "fit": lambda model, i: model.fit(ITEMS[i], CLASSES[i]).predict(ITEMS[0]),
    "fit_predict": lambda model, i: model.fit_predict(ITEMS[i], CLASSES[i]),
    "fit_transform": lambda model, i: model.fit_transform(ITEMS[i], CLASSES[i]),
}


@cache
def answers(name: str, number: int) -> dict[str, Any]:
    """All that the model of a set of items answers."""
    model = fitted(name, number)
    return {verb: ask(model) for verb, ask in QUESTIONS.items() if hasattr(model, verb)}


@each
def test_every_public_method_is_asked(name: str) -> None:
    kind = registry.MODELS[name].load_class()
    public = {n for n in dir(kind) if n[0] != "_" and isfunction(getattr_static(kind, n))}
    changed = {n for n in public if n.startswith(("get_", "set_"))}
    assert public - changed - {"save"} <= {*QUESTIONS, *FITS}


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads that take turns at every opportunity."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@each
def test_a_thread_that_asks_while_another_fits_hears_one_model(name: str, impatient: None) -> None:
    known = [answers(name, number) for number in (0, 1)]
    model, done, wrong = fitted(name, 0), threading.Event(), set[str]()

    def ask_on() -> None:
        while not done.is_set():
            for verb, answer in known[0].items():
                found = QUESTIONS[verb](model)
                if not (np.array_equal(found, answer) or np.array_equal(found, known[1][verb])):
                    wrong.add(verb)

    with ThreadPoolExecutor(1) as pool:
        asking, begun = pool.submit(ask_on), time.perf_counter()
        for number in itertools.cycle((1, 0)):
            model.fit(ITEMS[number], CLASSES[number])
            if number == 0 and time.perf_counter() > begun + 0.3:
                break
        done.set()
    assert asking.result() is None and wrong == set()


def fits_first(real: Callable[..., Any], model: Any) -> Callable[..., Any]:
    """The function, but the first time it is called the model is fitted to the second set of items before."""
    numbers = iter([1])

    def call(*arguments: Any) -> Any:
        for number in numbers:
            model.fit(ITEMS[number], CLASSES[number])
        return real(*arguments)

    return call


@each
def test_a_fit_in_the_middle_of_an_answer_leaves_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for verb, answer in answers(name, 0).items():
        model = fitted(name, 0)
        with monkeypatch.context() as patch:
            for part in ("apply", "restore"):
                patch.setattr(Preprocessing, part, fits_first(getattr(Preprocessing, part), model))
            np.testing.assert_array_equal(QUESTIONS[verb](model), answer, err_msg=verb)
        now = answers(name, 0 if verb == "pretrained" else 1)[verb]
        np.testing.assert_array_equal(QUESTIONS[verb](model), now, err_msg=verb)


@each
def test_what_fits_and_answers_is_of_one_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, alone = registry.MODELS[name].load_class(), fitted(name, 0)
    expected = {"fit_predict": lambda: alone.labels_, "fit_transform": lambda: alone.transform(ITEMS[0])}
    for verb in expected.keys() & set(dir(kind)):
        model = MODELS[name](2)
        with monkeypatch.context() as patch:
            real, others = kind.fit, iter([1])

            def fit_twice(self: Any, *data: Any, real: Any = real, others: Any = others) -> Any:
                found = real(self, *data)
                for number in others:
                    real(model, ITEMS[number], CLASSES[number])  # noqa: B023 - called at once
                return found

            patch.setattr(kind, "fit", fit_twice)
            found = FITS[verb](model, 0)
        np.testing.assert_array_equal(found, expected[verb]())
        assert model.fingerprint_ == alone.fingerprint_ and next(others, None) is None


@each
@pytest.mark.parametrize("fails", [False, True])
def test_a_fit_changes_nothing_of_the_model_before(name: str, fails: bool) -> None:
    """So that whoever asks it meanwhile, or after a fit that failed, finds it as it was."""
    kind, before = registry.MODELS[name].load_class(), MODELS[name](2)

    class Mine(kind):
        def fit(self, X: Any, y: Any = None) -> Any:
            super().fit(X, y)
            if fails and hasattr(self, "mine_"):
                raise KeyboardInterrupt
            self.mine_ = len(X)
            return self

    model = Mine(**before.get_params(deep=False)).fit(ITEMS[0], CLASSES[0])
    for argument, value in (("init", "fitted"), ("warm_start", True)):
        if hasattr(model, argument):
            model.set_params(**{argument: value})
    state, content = model.__dict__, pickle.dumps(model.__dict__)
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext():
        assert model.fit(ITEMS[1], CLASSES[1]) is model
    assert pickle.dumps(state) == content and (model.__dict__ is state) == fails


# ---------------------------------------------------------------- surroundings


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    yield
    torch.set_default_device(None)


#: What somebody may have set for the whole process, or around the call.
SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "default device": lambda: default_device("meta"),
    "device": lambda: torch.device("meta"),
    "default dtype": lambda: default_dtype(torch.float64),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "errors": lambda: np.errstate(all="raise"),
}


@each
@pytest.mark.parametrize("around", SURROUNDINGS)
def test_a_model_is_the_same_in_all_surroundings(name: str, around: str, tmp_path: Path) -> None:
    expected = answers(name, 0)
    with SURROUNDINGS[around]():
        before = global_state()
        model = fitted(name, 0)
        loaded = load(model.save(tmp_path / "model"))
        found = [{verb: QUESTIONS[verb](one) for verb in expected} for one in (model, loaded)]
        with pytest.raises(ValueError, match="NaN"):
            model.fit(np.full((20, 2), np.nan), CLASSES[0])
        assert global_state() == before
    found.append({verb: QUESTIONS[verb](loaded) for verb in expected})
    for verb, answer in expected.items():
        for given in found:
            np.testing.assert_array_equal(given[verb], answer, err_msg=verb)


@pytest.mark.parametrize("name", ["GANMixture", "DNNMixture"])
def test_networks_of_the_user_are_made_in_surroundings_of_their_own(name: str) -> None:
    def network(in_shape: tuple[int, ...], out_dim: int) -> torch.nn.Module:
        return torch.nn.Linear(in_shape[0], out_dim)

    def labels(model: Any) -> np.ndarray:
        return model.set_params(networks=network).fit(ITEMS[0]).predict_proba(ITEMS[0])

    expected = labels(MODELS[name](2))
    with default_dtype(torch.float64), default_device("meta"):
        np.testing.assert_array_equal(labels(MODELS[name](2)), expected)


def test_the_default_dtype_is_float32_until_the_last_thread_has_left() -> None:
    def inside(entered: threading.Barrier, leave: threading.Barrier) -> torch.dtype:
        with own_surroundings():
            entered.wait(10)
            leave.wait(10)
            return torch.get_default_dtype()

    entered, leave_first, leave_last = (threading.Barrier(n) for n in (3, 2, 2))
    with default_dtype(torch.float64), ThreadPoolExecutor(2) as pool:
        first, last = (pool.submit(inside, entered, leave) for leave in (leave_first, leave_last))
        entered.wait(10)
        leave_first.wait(10)
        assert first.result(10) == torch.get_default_dtype() == torch.float32
        torch.set_default_dtype(torch.bfloat16)  # somebody else does
        with own_surroundings():
            assert torch.get_default_dtype() == torch.float32
        leave_last.wait(10)
        assert last.result(10) == torch.float32 and torch.get_default_dtype() == torch.bfloat16


def test_a_default_dtype_that_is_set_meanwhile_stays() -> None:
    with default_dtype(torch.float32):
        with own_surroundings():
            torch.set_default_dtype(torch.float64)
        assert torch.get_default_dtype() == torch.float64
