"""A fit that survives being killed: everything it goes on from, in a folder, after an iteration.

A checkpoint is one safetensors file, ``iteration-000012-CHECKSUM.safetensors``: tensors, and the rest as
JSON in its header. It is written beside its place and renamed, so it is there whole or not at all; its name
has the checksum of its content. The last two are kept. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from genmix.base.encoding import encode
from genmix.base.estimator import fingerprint
from genmix.base.files import (
    ModelFileError,
    check_writable,
    look,
    read_file,
    readable,
    replace_file,
    sync_folder,
)
from genmix.base.persistence import own_copy
from genmix.base.preprocessing import as_array
from genmix.base.restoring import History, check_tensor, load_weights
from genmix.base.validation import check_values, one_line, printable, short_repr
from genmix.training.engine import Engine, Stateful

if TYPE_CHECKING:
    from genmix.base.estimator import BaseModel

#: Arguments that may change between two calls: how long the fit goes on, and what it prints.
MAY_CHANGE = ("max_iter", "tol", "verbose", "warm_start")
#: Writing takes at most this share of the time of a fit.
SHARE_OF_TIME = 0.05
#: Steps of `Checkpoint.steps` between two moments to write.
STEPS = 100
_KEEP = 2
#: How the name of a folder of `Checkpoint.child` begins.
_INSIDE = "fit-"
_HEADER = "genmix-checkpoint"


Learner = Stateful | nn.Module


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the fit goes on."""


class Checkpoint:
    """Folder of the last states of one fit; without a folder nothing is read or written.

    Parameters
    ----------
    folder : path or None
        Made if it is missing; may hold nothing but checkpoints, and the folders that `child` makes.
    model : estimator
        Whose fit it is.
    data : tuple of ndarray, str or None
        What it learns from: items, labels, weights, or their fingerprints.
    run : Engine
        Its random generators are set to where those of the fit to go on with began.
    part : dict, optional
        What the state depends on besides data, device and seed, if that is not all of the model.

    Attributes
    ----------
    exists : bool
        Whether there is such a fit to go on with.

    Raises
    ------
    ValueError
        A folder of something else, of a fit of other data or with other arguments, or that cannot be written.
    ModelFileError
        The last checkpoint is damaged.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        model: BaseModel,
        data: tuple[Any, ...],
        run: Engine,
        part: dict[str, Any] | None = None,
    ) -> None:
        self.folder = None if folder is None else Path(os.path.abspath(folder))
        self._run, self._found = run, dict[str, Any]()
        self._learners: Mapping[str, Learner] = {}
        self._n_components = getattr(model, "n_components", 1)
        if self.folder is None:
            return
        self._identity = _identity(model, data, run, part)
        self._number, self._cost, self._written = 0, 0.0, time.perf_counter()
        last = _files(self.folder)[-1:]
        if last:
            self._file, self._found = last[0], _read(last[0])
            _compare(self.folder, self._found["identity"], self._identity)
            with _fault_of(self._file):
                run.load_state_dict(self._found["beginning"])
        else:
            check_writable(self.folder / f".iteration-{uuid.uuid4().hex}")
        self._beginning = run.state_dict()

    def child(self, model: BaseModel, data: tuple[Any, ...]) -> Checkpoint:
        """Make the checkpoint of what one fit does after a part that it shares with others.

        Its folder is inside this one; another fit has another. `end` deletes it.

        Parameters
        ----------
        model : estimator
            Whose fit it is.
        data : tuple of ndarray or None
            What it learns from.
        """
        if self.folder is None:
            return Checkpoint(None, model, data, self._run)
        text = json.dumps(_identity(model, data, self._run, None), sort_keys=True)
        name = f"{_INSIDE}{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        return Checkpoint(self.folder / name, model, data, self._run)

    def end(self) -> None:
        """Forget the fit, which is over."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def exists(self) -> bool:
        """Whether there is a fit to go on with."""
        return bool(self._found)

    @property
    def seconds(self) -> float:
        """How long that fit has taken so far."""
        return float(self._found["history"][-1]["seconds"]) if self.exists else 0.0

    def get(self, *path: str, default: Any) -> Any:
        """Look up a number of what learns, by its place, that is needed before it can be made again."""
        if not self.exists:
            return default
        found: Any = self._found["learners"]
        with _fault_of(self._file):
            for name in path:
                found = found[name]
            most = max(
                (max(tensor.shape, default=0) for tensor in self._found["tensors"].values()), default=0
            )
            if type(found) is not type(default) or not 1 <= found <= most:
                raise ValueError(f"{'.'.join(path)} is {short_repr(found)}")
        return found

    def resume(
        self,
        learners: Mapping[str, Learner],
        carried: Any,
        *,
        like: Tensor | None = None,
        recorded: tuple[str, ...] = (),
    ) -> tuple[list[dict[str, Any]], Any]:
        """Set what learns to where it was.

        Parameters
        ----------
        learners : dict of Stateful or nn.Module
            Everything that learns, made as at the beginning of the fit.
        carried : Tensor or None
            What the loop carries from one iteration to the next.
        like : Tensor, optional
            Has its shape and dtype, where that is not what is given.
        recorded : tuple of str
            What the loop reads of each record.

        Returns
        -------
        history : list of dict
            Records of the iterations done; empty if the fit begins.
        carried : Tensor or None
            As it was; what was given if the fit begins.
        """
        self._learners = {"run": self._run, **learners}
        if not self.exists:
            return [], carried
        like, history, carried = (
            carried if like is None else like,
            self._found["history"],
            self._found["carried"],
        )
        with _fault_of(self._file):
            self._check_loop(history, carried, like, recorded)
            for name, learner in self._learners.items():
                state = self._found["learners"][name]
                if isinstance(learner, nn.Module):
                    load_weights(learner, state)
                else:
                    learner.load_state_dict(state)
        self._number, device = len(history), self._run.device
        self._found = {**self._found, "learners": {}, "tensors": {}}  # they may be large
        return history, None if carried is None else carried.to(device)

    def _check_loop(
        self, history: list[dict[str, Any]], carried: Any, like: Any, recorded: tuple[str, ...]
    ) -> None:
        if any(type(record.get(name)) not in (int, float) for record in history for name in recorded):
            raise ValueError(f"a record of its history lacks one of {', '.join(recorded)}")
        if not (isinstance(carried, Tensor) and isinstance(like, Tensor)):
            if carried is not like:
                raise ValueError("what it carries belongs to another fit")
            return
        check_tensor("carried", carried, torch.empty_like(like, device="meta"))
        whole = not carried.is_floating_point()  # components
        if whole and carried.numel() and not 0 <= carried.min() <= carried.max() < self._n_components:
            raise ValueError(f"the tensor carried: expected components below {self._n_components}")

    def steps(self, total: int, description: str, learners: Mapping[str, Learner]) -> Iterator[int]:
        """Count steps to `total`, from where the fit was stopped, with a bar; the state is kept in between.

        Parameters
        ----------
        total : int
            Steps.
        description : str
            Of the bar.
        learners : dict of Stateful or nn.Module
            As for `resume`.
        """
        before, begun = self.seconds, time.perf_counter()
        history, _ = self.resume(learners, None, recorded=("steps",))
        done = history[-1]["steps"] if history else -1
        if history:
            with _fault_of(self._file):
                check_values({"steps": done}, {"steps": int})

        def reached(steps: int, *, last: bool = False) -> None:
            history.append({"steps": steps, "seconds": before + time.perf_counter() - begun})
            self.write(history, None, last=last)

        for step in self._run.progress(total, description, max(done, 0)):
            yield step
            if (step + 1) % STEPS == 0 and step + 1 < total:
                reached(step + 1)
        if done < total:
            reached(total, last=True)

    def write(self, history: list[dict[str, Any]], carried: Tensor | None, *, last: bool = False) -> None:
        """Keep the state after an iteration, unless the one before was written a moment ago.

        Parameters
        ----------
        history : list of dict
            Records of the iterations done.
        carried : Tensor or None
            What the loop carries from one iteration to the next.
        last : bool
            The fit is over: the state is kept in any case.
        """
        begun = time.perf_counter()
        if self.folder is None or self._number == len(history):
            return
        if not last and begun - self._written < self._cost / SHARE_OF_TIME:
            return
        state = {
            "identity": self._identity,
            "beginning": self._beginning,
            "learners": {name: learner.state_dict() for name, learner in self._learners.items()},
            "history": history,
            "carried": carried,
        }
        try:
            _write(self.folder, len(history), state)
            self._number = len(history)
        except OSError as error:
            warnings.warn(
                f"the checkpoint of iteration {len(history)} was not written to {self.folder}: "
                f"{error.strerror}; the fit goes on, and tries again later",
                CheckpointWarning,
                stacklevel=4,
            )
        self._written = time.perf_counter()
        self._cost = self._written - begun


def _identity(
    model: BaseModel, data: tuple[Any, ...], run: Engine, part: dict[str, Any] | None
) -> dict[str, Any]:
    """Collect what two calls of `fit` have to share for the second to go on where the first stopped."""
    given = {"model": type(model).__name__, **model.get_params(deep=False)} if part is None else dict(part)
    seed = model.get_params(deep=False)["random_state"]
    # Without a seed the generators are in the checkpoint.
    given["random_state"] = seed if isinstance(seed, int | np.integer) else None
    arguments = {name: encode(value) for name, value in given.items() if name not in MAY_CHANGE}
    arguments |= {"device": run.device.type, "precision": run.precision}
    prints = [
        items if items is None or isinstance(items, str) else fingerprint(np.asarray(as_array(items)))
        for items in data
    ]
    found = {"torch": torch.__version__, "data": prints}
    return json.loads(json.dumps({**found, "arguments": arguments}))


def _compare(folder: Path, kept: dict[str, Any], wanted: dict[str, Any]) -> None:
    names = [name for name in wanted if name != "arguments" and kept.get(name) != wanted[name]]
    ours, theirs = wanted["arguments"], kept["arguments"]
    names += [name for name in ours if theirs.get(name) != ours[name]]
    if names:
        raise ValueError(
            f"{folder} holds checkpoints of a fit that differs in {', '.join(names)}: choose a new folder, "
            "or delete that one"
        )


def _files(folder: Path) -> list[Path]:
    """Checkpoints in a folder, the oldest first; what a killed write left behind is deleted."""
    if look(folder) is None:
        return []
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: choose a new one for the checkpoints")
    found = []
    with readable(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        if path.name.startswith(".iteration-") and path.is_file():
            path.unlink(missing_ok=True)
        elif path.name.startswith("iteration-") and path.suffix == ".safetensors":
            found.append(path)
        elif not (path.name.startswith(_INSIDE) and path.is_dir()):
            raise ValueError(f"{folder} also holds {path.name!r}: choose a new folder for the checkpoints")
    return found


def _write(folder: Path, number: int, state: dict[str, Any]) -> None:
    import safetensors.torch

    tensors: dict[str, Tensor] = {}
    document = json.dumps(take_tensors(state, tensors))
    content = safetensors.torch.save(tensors, {_HEADER: document})
    checksum = hashlib.sha256(content).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".iteration-{uuid.uuid4().hex}"
    replace_file(part, folder / f"iteration-{number:06}-{checksum}.safetensors", content)
    sync_folder(folder)
    for path in _files(folder)[:-_KEEP]:
        path.unlink()


def _read(path: Path) -> dict[str, Any]:
    import safetensors.torch

    content = read_file(path)
    if hashlib.sha256(content).hexdigest()[:32] != path.stem.rpartition("-")[2]:
        raise ModelFileError(
            f"{path} is damaged: its checksum differs. Delete it, and the fit goes on from the one before"
        )
    with _fault_of(path):
        length = int.from_bytes(content[:8], "little")
        document = json.loads(content[8 : 8 + length])["__metadata__"][_HEADER]
        tensors = safetensors.torch.load(content)
        parsed = json.loads(document)
        found = {**give_tensors(parsed, tensors), "identity": parsed["identity"]}  # which has no tensors
        dictionaries = (found, *(found[name] for name in ("identity", "beginning", "learners")))
        if not all(isinstance(part, dict) for part in (*dictionaries, found["identity"]["arguments"])):
            raise TypeError("it has lists where dictionaries belong")
        check_values({"history": found["history"]}, {"history": History})
        if not found["history"] or not all(type(r.get("seconds")) in (int, float) for r in found["history"]):
            raise TypeError("its history is none")
        if not isinstance(found["carried"], Tensor | None):
            raise TypeError("what it carries is no tensor")
        return {**found, "tensors": tensors}


@contextmanager
def _fault_of(path: Path) -> Iterator[None]:
    """Blame the file for whatever it provokes in the block: it may be forged."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(printable(str(error)))}"
        raise ModelFileError(f"{path} is no checkpoint of genmix: {reason}") from error


def take_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Nested dictionaries and lists for JSON; copies of their tensors go to `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = own_copy(value)
        return {"$tensor": name}
    if isinstance(value, dict):
        return {name: take_tensors(part, tensors) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [take_tensors(part, tensors) for part in value]
    return value


def give_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo `take_tensors`."""
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        return {name: give_tensors(part, tensors) for name, part in value.items()}
    return [give_tensors(part, tensors) for part in value] if isinstance(value, list) else value
