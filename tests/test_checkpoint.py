"""Fits that are stopped and go on: the same bits, and nothing but whole, own, undamaged files."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

import genmix
from genmix import ClassifierEStep, DNNMixture, GANMixture, InfoMaxInit, MinMaxStep, MStep
from genmix.base.persistence import ModelFileError
from genmix.baselines import (
    ACAI,
    DCN,
    DEC,
    ClusterGAN,
    DynAE,
    FixMatch,
    Pretraining,
    StackedAutoencoder,
    SupervisedOnly,
    VaDE,
    acai,
    autoencoder,
)
from genmix.dnnmm.presets import PaperStep
from genmix.ganmm.presets import CodeMStep
from genmix.training import checkpoint, infomax
from genmix.training.augment import NeighborSwap
from genmix.training.checkpoint import CheckpointWarning
from genmix.training.run import Run

INIT = InfoMaxInit(steps=4, n_heads=2, n_candidates=1, partitions=("kmeans",))
E_STEP = ClassifierEStep(steps=3)
GANS = MStep(steps=2, pretrain_steps=2)
STEP = MinMaxStep(steps=3, encoder_pretrain_steps=5, generator_pretrain_steps=5)


@dataclass(frozen=True)
class ShortPaperStep(PaperStep):
    discriminator_pretrain_steps: ClassVar[int] = 2


def network_of_the_user(in_shape: tuple[int, ...], out_dim: int) -> torch.nn.Module:
    """A network with buffers, as `networks` takes it."""
    return torch.nn.Sequential(
        torch.nn.Linear(in_shape[0], 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, out_dim)
    )


DENSE = {"kind": "mlp", "hidden": (16,), "norm": "running"}
#: Arguments of the mixtures.
GAN = {
    "init": INIT, "e_step": E_STEP, "m_step": GANS,
    "networks": dict.fromkeys(("generator", "critic", "classifier"), DENSE),
}  # fmt: skip
DNN = {
    "init": INIT, "m_step": STEP,
    "networks": dict.fromkeys(("encoder", "generator", "discriminator"), DENSE),
}  # fmt: skip
PAPER = ShortPaperStep(steps=3, encoder_pretrain_steps=5, generator_pretrain_steps=5)
MODELS: dict[str, Callable[..., Any]] = {
    "GANMixture": lambda **a: GANMixture(3, **(GAN | a)),
    "GANMixture of own networks": lambda **a: make(networks=network_of_the_user, **a),
    "restarts": lambda **a: make(init="kmeans", n_init=2, **a),
    "published GANMM": lambda **a: GANMixture.preset(
        "ganmm-2018-code", 3, m_step=CodeMStep(steps=1, pretrain_steps=1), **a
    ),
    "GANMM(EM)": lambda **a: make(init="random", e_step="critic", **a),
    "DNNMixture": lambda **a: DNNMixture(3, **(DNN | a)),
    "DNNMixture of own networks": lambda **a: make("DNNMixture", networks=network_of_the_user, **a),
    "DNNMixture, restarts": lambda **a: make("DNNMixture", n_init=2, **a),
    "clusters only": lambda **a: make("DNNMixture", generate=False, **a),
    "published DNN-MM": lambda **a: DNNMixture.preset("dnnmm-2020", 3, m_step=PAPER, **a),
    "ClusterGAN": lambda tol, **a: ClusterGAN(3, latent_dim=3, batch_size=16, steps_per_iteration=3, **a),
}


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Fewer items than elsewhere: it is all about bits."""
    return make_blobs(150, centers=[[0, 0], [8, 0], [0, 8]], random_state=0)


@pytest.fixture(autouse=True)
def _short_fits_do_not_converge(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(infomax, "PARTITION_STEPS", 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CheckpointWarning)
        yield


def make(name: str = "GANMixture", **arguments: Any) -> Any:
    return MODELS[name](**{"max_iter": 4, "tol": None, "random_state": 0, **arguments})


def without_seconds(model: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in model.history_]


def assert_equal_fits(one: Any, other: Any) -> None:
    assert without_seconds(one) == without_seconds(other)
    np.testing.assert_array_equal(one.labels_, other.labels_)
    assert getattr(one, "selection_score_", None) == getattr(other, "selection_score_", None)
    tensors, others = one._tensors(), other._tensors()
    assert tensors.keys() == others.keys()
    for key, tensor in tensors.items():
        assert torch.equal(tensor, others[key]), key


@pytest.mark.parametrize(
    ("name", "labels"), [*((name, False) for name in MODELS), ("DNNMixture", True), ("ClusterGAN", True)]
)
def test_a_fit_in_two_parts_is_the_whole_one(name: str, labels: bool, blobs: Any, tmp_path: Path) -> None:
    X, y = blobs
    known = (np.where(np.arange(len(X)) % 9 == 0, y, -1),) if labels else ()
    whole = make(name).fit(X, *known)
    make(name, max_iter=2).fit(X, *known, checkpoint=tmp_path / "fit")
    assert_equal_fits(make(name).fit(X, *known, checkpoint=tmp_path / "fit"), whole)


def test_writing_checkpoints_changes_nothing(blobs: Any, tmp_path: Path) -> None:
    assert_equal_fits(make().fit(blobs[0], checkpoint=tmp_path), make().fit(blobs[0]))


def test_a_finished_fit_is_not_done_again(
    blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make().fit(blobs[0], checkpoint=tmp_path)
    monkeypatch.setattr("genmix.ganmm.m_step.Components.train", None)
    again = make().fit(blobs[0], checkpoint=tmp_path)
    assert_equal_fits(again, first)
    assert again.history_ == first.history_


def test_a_converged_fit_stays_so(blobs: Any, tmp_path: Path) -> None:
    first = make(max_iter=9, tol=1.0, m_step=replace(GANS, epsilon=0.0)).fit(blobs[0], checkpoint=tmp_path)
    again = make(max_iter=20, tol=1.0, m_step=replace(GANS, epsilon=0.0)).fit(blobs[0], checkpoint=tmp_path)
    assert first.n_iter_ == again.n_iter_ == 3
    assert again.converged_


def test_seconds_go_on(blobs: Any, tmp_path: Path) -> None:
    make(max_iter=2).fit(blobs[0], checkpoint=tmp_path)
    seconds = [record["seconds"] for record in make().fit(blobs[0], checkpoint=tmp_path).history_]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(3)], ids=["None", "RandomState"])
def test_a_fit_without_a_seed_goes_on_too(random_state: Any, blobs: Any, tmp_path: Path) -> None:
    """Even what is drawn before the first iteration, here the reference items of neighbours, is the same."""
    found = make(max_iter=2, random_state=random_state).fit(blobs[0], checkpoint=tmp_path)
    np.random.seed(5)  # noqa: NPY002
    again = make(max_iter=2, random_state=None).fit(blobs[0], checkpoint=tmp_path)
    assert_equal_fits(found, again)
    drawn = np.random.RandomState(5).randint(2**31 - 1, size=2)  # the fit drew one: NumPy's own is not set
    assert np.random.randint(2**31 - 1) == drawn[1]  # noqa: NPY002


SCRIPT = """
import sys, warnings
import numpy as np, torch
from tests import test_checkpoint
warnings.simplefilter("ignore")
data, kept, name, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
test_checkpoint.infomax.PARTITION_STEPS = 4
test_checkpoint.make(name, max_iter=100_000).fit(np.load(data), checkpoint=kept)
"""


@pytest.mark.parametrize("name", ["GANMixture", "DNNMixture of own networks", "ClusterGAN"])
def test_a_killed_process_is_continued_by_another(name: str, blobs: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", blobs[0])
    kept = tmp_path / "fit"
    arguments = [tmp_path / "X.npy", kept, name, torch.get_num_threads()]
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        until = time.monotonic() + 120
        while len(list(kept.glob("iteration-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        process.kill()  # SIGKILL, wherever it is
        process.wait()
    files = sorted(kept.glob("iteration-*"))
    assert 1 <= len(files) <= 3  # two, or three while the oldest is about to go
    done = int(files[-1].name.split("-")[1])
    n = done + 2
    whole = make(name, max_iter=n).fit(blobs[0])
    assert_equal_fits(make(name, max_iter=n).fit(blobs[0], checkpoint=kept), whole)
    assert sorted(kept.iterdir()) == sorted(kept.glob("iteration-*"))  # no part of a file is left


def test_the_last_two_are_kept(blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SHARE_OF_TIME", 1e9)
    make().fit(blobs[0], checkpoint=tmp_path)
    assert [path.name[:16] for path in sorted(tmp_path.iterdir())] == ["iteration-000003", "iteration-000004"]


def test_writing_takes_a_small_share_of_the_time(
    blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    real = checkpoint._write

    def slow(folder: Path, number: int, state: dict[str, Any]) -> None:
        written.append(number)
        time.sleep(0.2)
        real(folder, number, state)

    monkeypatch.setattr(checkpoint, "_write", slow)
    make(max_iter=6).fit(blobs[0], checkpoint=tmp_path)
    assert written == [1, 6]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "renamed"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_loads(
    damage: str, blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHARE_OF_TIME", 1e9)
    make(max_iter=2).fit(blobs[0], checkpoint=tmp_path)
    last = sorted(tmp_path.iterdir())[-1]
    content = bytearray(last.read_bytes())
    if damage == "renamed":
        last = last.rename(tmp_path / "iteration-000007-abc.safetensors")
    else:
        content[len(content) // 2] ^= 1
        last.write_bytes(content[:-9] if damage == "truncated" else content)
    with pytest.raises(ModelFileError, match=r"is damaged.*Delete it.* goes on from the one before"):
        make().fit(blobs[0], checkpoint=tmp_path)
    last.unlink()
    assert_equal_fits(make().fit(blobs[0], checkpoint=tmp_path), make().fit(blobs[0]))


@pytest.mark.parametrize("content", [b"", b"x" * 100, (100).to_bytes(8, "little") + b"{}"])
def test_a_forged_checkpoint_is_refused(content: bytes, blobs: Any, tmp_path: Path) -> None:
    import hashlib

    name = f"iteration-000001-{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFileError, match="is no checkpoint of genmix"):
        make().fit(blobs[0], checkpoint=tmp_path)


FORGED = {
    **{f"no {name}": (name, None) for name in ("history", "identity", "beginning", "learners", "carried")},
    **{f"list for {name}": (name, []) for name in ("history", "identity", "beginning", "learners")},
    "identity without arguments": ("identity", {}),
    "history of numbers": ("history", [1]),
    "history without seconds": ("history", [{}]),
    "seconds of text": ("history", [{"seconds": "x"}]),
    "history that is a number": ("history", 3),
    "no generators": ("beginning", {}),
    "empty generators": (
        "beginning",
        {
            "cpu_generator": torch.zeros(0, dtype=torch.uint8),
            "generator": torch.zeros(0, dtype=torch.uint8),
            "numpy": [],
        },
    ),
    "no learner": ("learners", {}),
    "learners that are lists": ("learners", {"run": [], "encoder": []}),
    "carried text": ("carried", "x"),
}


@pytest.mark.parametrize("name", ["GANMixture", "DNNMixture", "ClusterGAN"])
def test_a_checkpoint_of_forged_parts_is_refused(name: str, blobs: Any, tmp_path: Path) -> None:
    def fit() -> None:
        make(name, max_iter=1).fit(blobs[0], checkpoint=tmp_path)

    fit()
    path = checkpoint._files(tmp_path)[-1]
    state = checkpoint._read(path)
    for part, value in FORGED.values():
        forged = {key: other for key, other in state.items() if key != part or value is not None}
        if value is not None:
            forged[part] = value
        for old in checkpoint._files(tmp_path):
            old.unlink()
        checkpoint._write(tmp_path, 1, forged)
        with pytest.raises(ModelFileError, match="is no checkpoint of genmix: ") as raised:
            fit()
        message = str(raised.value)
        assert str(tmp_path / "iteration-000001") in message and "\n" not in message


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"random_state": 1}, "random_state"),
        ({"m_step": replace(GANS, epsilon=0.3)}, "m_step"),
        ({"n_init": 2}, "n_init"),
    ],
)
def test_other_arguments_are_refused(changed: Any, named: str, blobs: Any, tmp_path: Path) -> None:
    make(max_iter=1).fit(blobs[0], checkpoint=tmp_path)
    with pytest.raises(ValueError, match=f"differs in {named}: choose a new folder"):
        make(**changed).fit(blobs[0], checkpoint=tmp_path)


def test_other_data_labels_and_models_are_refused(blobs: Any, tmp_path: Path) -> None:
    X, y = blobs
    make("DNNMixture", max_iter=1).fit(X, checkpoint=tmp_path)
    for arguments in ((X[::-1],), (X, y), (X, None, np.ones(len(X)))):
        with pytest.raises(ValueError, match="differs in data"):
            make("DNNMixture").fit(*arguments, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"differs in data, model, e_step"):
        make().fit(X, checkpoint=tmp_path)


def test_a_folder_of_something_else_is_left_alone(blobs: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"also holds 'thesis.tex': choose a new folder"):
        make().fit(blobs[0], checkpoint=tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        make().fit(blobs[0], checkpoint=tmp_path / "thesis.tex")
    (tmp_path / "thesis.tex").unlink()
    (tmp_path / ".iteration-0").mkdir()
    with pytest.raises(ValueError, match=r"also holds '.iteration-0': choose a new folder"):
        make().fit(blobs[0], checkpoint=tmp_path)


def test_a_full_disk_is_said_and_the_fit_goes_on(
    blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("genmix.base.files.write_file", full)
    with pytest.warns(CheckpointWarning, match=r"not written to .*: No space left on device"):
        model = make().fit(blobs[0], checkpoint=tmp_path)
    assert model.n_iter_ == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["GANMixture", "DNNMixture"])
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(
    name: str, blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = [], Run.record

    def interrupted(self: Any, *arguments: Any, **values: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(self, *arguments, **values)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "SHARE_OF_TIME", 1e9)
        patch.setattr(Run, "record", interrupted)
        make(name).fit(blobs[0], checkpoint=tmp_path)
    assert sorted(tmp_path.iterdir())[-1].name.startswith("iteration-000002-")
    assert_equal_fits(make(name).fit(blobs[0], checkpoint=tmp_path), make(name).fit(blobs[0]))


def test_nothing_is_unpickled(blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(max_iter=1).fit(blobs[0], checkpoint=tmp_path)

    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError("something was unpickled")

    for name in ("pickle.Unpickler", "pickle.load", "pickle.loads", "torch.load"):
        monkeypatch.setattr(name, refuse)
    assert make().fit(blobs[0], checkpoint=tmp_path).n_iter_ == 4


@pytest.mark.parametrize("name", ["GANMixture", "DNNMixture"])
def test_a_fit_of_fitted_networks_goes_on_from_checkpoints_as_well(
    name: str, blobs: Any, tmp_path: Path
) -> None:
    def twice(kept: Path | None, n: int) -> Any:
        model = make(name, max_iter=1, augmentation=NeighborSwap()).fit(blobs[0])
        return model.set_params(init="fitted", max_iter=n).fit(blobs[0], checkpoint=kept)

    twice(tmp_path, 2)
    assert_equal_fits(twice(tmp_path, 4), twice(None, 4))


def test_a_warm_started_clustergan_counts_on(blobs: Any, tmp_path: Path) -> None:
    def twice(kept: Path | None, n: int) -> Any:
        model = make("ClusterGAN", max_iter=2, warm_start=True).fit(blobs[0])
        return model.set_params(max_iter=n).fit(blobs[0], checkpoint=kept)

    twice(tmp_path, 1)
    assert twice(tmp_path, 3).n_iter_ == 5
    assert_equal_fits(twice(tmp_path, 3), twice(None, 3))


def count_records(patch: pytest.MonkeyPatch, kind: Any, most: int | None = None) -> list[int]:
    """Collect the numbers of the records that fits make; stop one as Ctrl-C does after so many."""
    record, done = kind._record, list[int]()

    def spied(self: Any, *arguments: Any, **values: Any) -> None:
        if len(self.history_) == most:
            raise KeyboardInterrupt
        record(self, *arguments, **values)
        done.append(len(self.history_))

    patch.setattr(kind, "_record", spied)
    return done


@pytest.mark.parametrize("kind", [SupervisedOnly, FixMatch])
def test_a_classifier_that_was_stopped_goes_on(
    kind: Any, blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five steps come after the last record."""
    X, known = blobs[0], np.where(np.arange(len(blobs[1])) % 9, -1, blobs[1])

    def fit(kept: Path | None) -> Any:
        return kind(3, steps=65, batch_size=8, random_state=0).fit(X, known, checkpoint=kept)

    whole = fit(None)
    monkeypatch.setattr(checkpoint, "SHARE_OF_TIME", 1e9)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_records(patch, kind, most=4)
        fit(tmp_path)
    done = count_records(monkeypatch, kind)
    assert_equal_fits(fit(tmp_path), whole)
    assert done == [5, 6, 7, 8, 9, 10]
    assert_equal_fits(fit(tmp_path), whole)
    assert len(done) == 6  # a finished fit is not done again


AUTOENCODER = Pretraining((16,), 2, steps=9)


def refuse_pretraining(patch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Stop at a step of pretraining end to end, as Ctrl-C does."""
    set_lr = autoencoder.set_falling_lr

    def stop(optimizer: Any, how: Any, step: int, total: int) -> None:
        if total == AUTOENCODER.steps and step >= after:
            raise KeyboardInterrupt
        set_lr(optimizer, how, step, total)

    for module in (autoencoder, acai):
        patch.setattr(module, "set_falling_lr", stop)


@pytest.mark.parametrize(("kind", "pretraining"), [(DEC, Pretraining), (VaDE, Pretraining), (DynAE, ACAI)])
def test_a_pretraining_that_was_stopped_goes_on(
    kind: Any, pretraining: Any, blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers are learned once; DynAE has a critic beside."""
    how = pretraining((16, 8), 2, layer_steps=5, steps=9)

    def fit(kept: Path | None) -> Any:
        return kind(3, pretraining=how, max_iter=1, random_state=0).fit(blobs[0], checkpoint=kept)

    whole = fit(None)
    monkeypatch.setattr(checkpoint, "SHARE_OF_TIME", 1e9)
    monkeypatch.setattr(checkpoint, "STEPS", 2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        refuse_pretraining(patch, 7)
        fit(tmp_path)
    assert list(tmp_path.iterdir())
    monkeypatch.setattr(autoencoder.Autoencoder, "_pretrain_layers", None)
    again = fit(tmp_path)
    for key, tensor in whole._tensors().items():
        assert torch.equal(tensor, again._tensors()[key]), key


@pytest.mark.parametrize("kind", [DEC, DCN, VaDE, DynAE])
def test_a_pretrained_autoencoder_is_kept(
    kind: Any, blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(kept: Path | None) -> Any:
        return kind(3, pretraining=AUTOENCODER, max_iter=2, random_state=0).fit(blobs[0], checkpoint=kept)

    whole = fit(None)
    fit(tmp_path)
    refuse_pretraining(monkeypatch)
    again = fit(tmp_path)
    assert without_seconds(again) == without_seconds(whole)
    np.testing.assert_array_equal(again.labels_, whole.labels_)
    for key, tensor in whole._tensors().items():
        assert torch.equal(tensor, again._tensors()[key]), key


@pytest.mark.parametrize("kind", [DEC, DCN, VaDE, DynAE])
def test_a_clustering_that_was_stopped_goes_on(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items without groups do not settle. Another fit with the same autoencoder begins anew."""
    X = np.random.default_rng(0).standard_normal((150, 5))
    settings = {"pretraining": AUTOENCODER, "max_iter": 6, "random_state": 0, "lr": 0.01}
    settings |= {"tol": 0.0, "update_interval": 20} if kind in (DEC, DynAE) else {"tol": None}
    labels = {"y": np.where(X[:, 0] > 1, X[:, 1] > 0, -1)} if kind is DynAE else {}

    def fit(kept: Path | None, **changed: Any) -> Any:
        return kind(3, **{**settings, **changed}).fit(X, **labels, checkpoint=kept)

    whole, other = fit(None), fit(None, batch_size=50)
    monkeypatch.setattr(checkpoint, "SHARE_OF_TIME", 1e9)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_records(patch, kind, most=4)
        fit(tmp_path)
    assert len(list(tmp_path.glob("fit-*"))) == 1
    assert_equal_fits(fit(tmp_path, batch_size=50), other)
    done = count_records(monkeypatch, kind)
    refuse_pretraining(monkeypatch)
    assert_equal_fits(fit(tmp_path), whole)
    assert done == [5, 6]
    assert not list(tmp_path.glob("fit-*"))  # it is over


def test_models_with_one_autoencoder_share_it(
    blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = StackedAutoencoder(AUTOENCODER, random_state=0).fit(blobs[0], checkpoint=tmp_path)
    with pytest.raises(ValueError, match="differs in autoencoder"):
        VaDE(3, pretraining=AUTOENCODER, random_state=0).fit(blobs[0], checkpoint=tmp_path)
    with pytest.raises(ValueError, match="differs in pretraining"):
        DEC(3, random_state=0).fit(blobs[0], checkpoint=tmp_path)
    refuse_pretraining(monkeypatch)
    dec = DEC(3, pretraining=AUTOENCODER, max_iter=1, lr=0.0, random_state=0)
    np.testing.assert_array_equal(
        dec.fit(blobs[0], checkpoint=tmp_path).transform(blobs[0]), codes.transform(blobs[0])
    )


def test_the_command_line_goes_on(blobs: Any, tmp_path: Path) -> None:
    from genmix.cli import main

    np.save(tmp_path / "X.npy", blobs[0])
    arguments = [
        "fit", str(tmp_path / "X.npy"), "--components", "3", "--set", "init=kmeans", "--no-progress",
        "--checkpoint", str(tmp_path / "kept"), "--out", str(tmp_path / "model"),
    ]  # fmt: skip
    assert main([*arguments, "--max-iter", "1"]) == 0
    assert main([*arguments, "--max-iter", "2"]) == 0
    assert genmix.load(tmp_path / "model").n_iter_ == 2
    assert main([*arguments, "--model", "kmeans"]) != 0
