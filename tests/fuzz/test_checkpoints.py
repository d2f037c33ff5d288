"""Checkpoints of strangers: the fit goes on to a right model, or ends in one line of ValueError."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import safetensors.torch

import guard
from genmix.base.registry import MODELS, keeps_checkpoints
from genmix.training import checkpoint
from test_bad_input import MODELS as TINY
from test_models import Case, change_document, change_tensors, data

KINDS = sorted(kind for kind in MODELS if keeps_checkpoints(TINY[kind](2)))


def make(kind: str) -> Any:
    """Make a model of next to nothing to do, but for more than one iteration."""
    model = TINY[kind](2)
    return model.set_params(tol=None) if kind == "DCN" else model


@cache
def kept(kind: str) -> dict[Path, tuple[dict[str, Any], bytes]]:
    """Fit a tiny model; return every checkpoint of it by its place, as document and tensors."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(checkpoint, "SHARE_OF_TIME", 1e9)
        patch.setattr(checkpoint, "_KEEP", 100)
        patch.setattr(checkpoint.Checkpoint, "end", lambda self: None)
        folder = Path(name) / "kept"
        make(kind).fit(*data(False), checkpoint=folder)
        return {path.relative_to(folder): split(path.read_bytes()) for path in folder.rglob("*.safetensors")}


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a checkpoint apart."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"][checkpoint._HEADER]), content


def forge(kind: str, number: int, seed: int, folder: Path) -> Case:
    """Write the folder of a case; the same for the same numbers."""
    chance = random.Random(f"{seed} {kind} {number}")  # noqa: S311
    target = chance.choice(sorted(kept(kind)))
    document, content = copy.deepcopy(kept(kind)[target])
    tensors, changes = safetensors.torch.load(content), []
    for _ in range(chance.choice([1, 1, 2])):
        if chance.random() < 0.5:
            document = {"meta": document}
            changes.append(change_document(document, chance))
            document = document["meta"]
        else:
            changes.append(change_tensors(tensors, chance))
    tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(tensors, {checkpoint._HEADER: json.dumps(document)})
    if chance.random() < 0.1:
        bad = bytearray(content)
        bad[chance.randrange(min(len(bad), chance.choice([8, 400, len(bad)])))] ^= chance.randrange(1, 256)
        content = bytes(bad)
    last = max(path for path in kept(kind) if len(path.parts) == 1)
    if len(target.parts) > 1:  # of the second half of a fit, which begins where the first has ended
        (folder / target).parent.mkdir(parents=True)
        (folder / last).write_bytes(kept(kind)[last][1])
    folder.mkdir(parents=True, exist_ok=True)
    checksum = hashlib.sha256(content).hexdigest()[:32]
    name = f"{target.stem.rpartition('-')[0]}-{checksum}.safetensors"
    (folder / target.parent / name).write_bytes(content)
    return Case(kind, number, folder, f"{target.parent}: {'; '.join(changes)}")


def go_on(case: Case) -> str:
    """Go on with a fit; its model answers."""
    for name in ("_write", "check_writable"):  # a case may write nothing
        setattr(checkpoint, name, lambda *arguments: None)
    checkpoint.Checkpoint.end = lambda self: None  # type: ignore[method-assign]
    X, y = data(False)
    model = make(case.kind).fit(X, y, checkpoint=case.folder)
    answer = model.predict_proba(X) if hasattr(model, "predict_proba") else model.transform(X)
    assert np.isfinite(answer).all()
    return "fitted"


def cases(kind: str, seed: int, folder: Path) -> Iterator[Case]:
    """Write case after case; of those before only the last hundred are kept."""
    number = 0
    while True:
        yield forge(kind, number, seed, folder / f"{number}")
        shutil.rmtree(folder / f"{number - 100}", ignore_errors=True)
        number += 1


@pytest.mark.parametrize("kind", KINDS)
def test_fits_go_on_rightly_or_not_at_all(kind: str, tmp_path: Path) -> None:
    assert len(kept(kind)) > 0
    found = set()
    for outcome in guard.run(
        go_on,
        cases(kind, guard.SEED, tmp_path),
        seconds=guard.SECONDS / len(KINDS),
        allowed=(ValueError, FloatingPointError),
    ):
        case = outcome.case
        again = f"seed {guard.SEED}, {kind}, case {case.number}: {case.changes}"
        assert not outcome.fault, f"{outcome.fault}: {outcome.text}\n{again}"
        found.add(outcome.error)
    assert "ModelFileError" in found
