"""Models on disk: a folder with ``model.safetensors`` (tensors) and ``model.json`` (everything else).

Nothing is ever unpickled and no code is named by the files: a class is looked up in the registry. A folder is
written whole or not at all, and both files carry a checksum: a damaged model is told before it is used.

A model takes part by a method ``_export() -> (tensors, meta)``, with `meta` made of what JSON can hold, and
two class methods: ``_restore(tensors, meta) -> model``, and ``_upgrade(meta) -> meta`` for genmix 0.1.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import shutil
import stat
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from genmix.base.device import resolve_device
from genmix.base.registry import MODELS
from genmix.base.validation import one_line, printable
from genmix.base.version import __version__

FORMAT, SCHEMA = "genmix-model", 2  # 1: genmix 0.1
TENSORS, DOCUMENT = "model.safetensors", "model.json"
MAX_DOCUMENT_BYTES = 16 * 2**20  # a history of 100,000 EM iterations fits; a JSON bomb does not


class ModelFileError(ValueError):
    """A model folder is missing, damaged, unsafe, or made by a newer genmix."""


def save(model: Any, folder: str | os.PathLike[str]) -> Path:
    """Write a fitted model to a folder, whole or not at all.

    A model already there is replaced; if anything goes wrong it stays, or is found again by :func:`load`.

    Parameters
    ----------
    model : estimator
        A fitted model of a class in `genmix.base.registry.MODELS`.
    folder : path
        Folder to make, with its parents; one that exists must be empty or hold nothing but a genmix model.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ValueError
        If the class is not a genmix model, its parameters cannot be written as JSON (not finite, or of a
        type JSON lacks), or `folder` holds something else than a model.
    OSError
        If the disk refuses (full, read-only).
    """
    target = Path(os.path.abspath(folder))
    check_target(target)
    files = _encode(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        new.mkdir()
        for name, content in files.items():
            write_file(new / name, content)
        sync_folder(new)
        _swap(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return Path(folder)


def load(folder: str | os.PathLike[str], **own: Any) -> Any:
    """Read a model written by :func:`save`; its predictions are those of the saved one, bit for bit.

    Parameters
    ----------
    folder : path
        A model folder. It may come from somebody else: nothing in it is executed or unpickled.
    **own
        Arguments of the model's constructor that are to be others. Functions of your own have to be given
        again, as no file can hold them: ``networks``, where it was fitted with network factories, or
        ``augmentation``. ``device="cuda"`` puts the networks there; else they are on the device of the fit,
        or on the CPU where a machine does not have it.

    Returns
    -------
    estimator
        The fitted model.

    Raises
    ------
    ModelFileError
        If the folder or one of its files is missing, a link, damaged, foreign, or made by a newer genmix; or
        an argument in `own` is missing.
    ValueError
        If the model has no argument of a name in `own`, or the machine no such `device`.
    """
    path = _existing(Path(folder))
    document = _read_document(path / DOCUMENT)
    content = read_file(path / TENSORS)
    if hashlib.sha256(content).hexdigest() != document.get("sha256"):
        raise ModelFileError(f"{path / TENSORS} is damaged or belongs to another model: its checksum differs")
    kind = MODELS[document["class"]].load_class()
    if unknown := sorted(set(own) - set(inspect.signature(kind).parameters)):
        raise ValueError(f"{unknown[0]!r} is no argument of a {document['class']}, which {path} holds")
    if "device" in own:
        resolve_device(own["device"])
    try:
        meta = document["meta"] if document["schema"] > 1 else kind._upgrade(document["meta"])
        return kind._restore(safetensors.torch.load(content), meta, **own)
    except MemoryError:
        raise
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except Exception as error:  # both files may be forged: whatever they provoke is the files' fault
        reason = one_line(printable(str(error) or type(error).__name__))
        raise ModelFileError(f"{path} does not hold a usable {document['class']}: {reason}") from error


# -------------------------------------------------- what the two files hold


def _encode(model: Any) -> dict[str, bytes]:
    cls = type(model)
    if cls.__name__ not in MODELS or MODELS[cls.__name__].module != cls.__module__:
        raise ValueError(f"cannot save a {cls.__qualname__}: expected one of {', '.join(sorted(MODELS))}")
    tensors, meta = model._export()
    content = safetensors.torch.save({name: own_copy(tensor) for name, tensor in tensors.items()})
    versions = {package: metadata.version(package) for package in ("torch", "scikit-learn", "numpy")}
    versions |= {"python": platform.python_version(), "genmix": __version__}
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "class": cls.__name__,
        "meta": meta,
        "versions": versions,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    try:
        document["document_sha256"] = _checksum(document)
        text = json.dumps(document, indent=1, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"cannot save this {cls.__name__}: {error}; expected finite numbers, strings, lists and dicts"
        ) from error
    if len(text) > MAX_DOCUMENT_BYTES:
        limit = f"at most {MAX_DOCUMENT_BYTES} can be loaded again"
        raise ValueError(f"cannot save this {cls.__name__}: it takes {len(text)} bytes of JSON, {limit}")
    return {TENSORS: content, DOCUMENT: text}


def own_copy(tensor: Tensor) -> Tensor:
    """Return a CPU copy with memory of its own: safetensors refuses views and shared storage."""
    return tensor.detach().cpu().clone().contiguous()


def _checksum(document: dict[str, Any]) -> str:
    """SHA-256 of all entries but the checksum itself, independent of their order and of white space."""
    entries = {key: value for key, value in document.items() if key != "document_sha256"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _read_document(path: Path) -> dict[str, Any]:
    """Read and check ``model.json``: nothing of it is used before everything in it has been checked."""
    content = read_file(path, MAX_DOCUMENT_BYTES)
    try:
        document = json.loads(content.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelFileError(f'{path} is not a genmix model: expected "format": "{FORMAT}"')
    schema = document.get("schema")
    if type(schema) is not int or schema < 1:
        raise ModelFileError(f"{path} has schema {schema!r}: expected a whole number from 1 to {SCHEMA}")
    if schema > SCHEMA:
        raise ModelFileError(f"{path} has schema {schema}, this genmix reads up to {SCHEMA}: upgrade genmix")
    try:
        intact = document.get("document_sha256") == _checksum(document)
    except (ValueError, RecursionError):  # 1e999 reads as infinity
        intact = False
    if not intact:
        raise ModelFileError(f"{path} is damaged or was edited: its checksum differs")
    if document.get("class") not in list(MODELS):  # a list, as a forged class may be unhashable
        raise ModelFileError(f"{path} names the class {document.get('class')!r}: known are {sorted(MODELS)}")
    if not isinstance(document.get("meta"), dict):
        raise ModelFileError(f'{path} has no "meta" object')
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number JSON allows")


# -------------------------------------------------- files: whole, synced, and no links


def _previous(folder: Path) -> Path:
    """Where a model waits while another takes its place."""
    return folder.with_name(f".{folder.name}.previous")


def _existing(folder: Path) -> Path:
    """Return the model folder, or the one being replaced if a save was killed between its two renames."""
    if folder.is_dir():
        return folder
    previous = _previous(Path(os.path.abspath(folder)))
    if not folder.exists() and previous.is_dir():
        return previous
    problem = "is not a folder" if folder.exists() else "does not exist"
    raise ModelFileError(f"{folder} {problem}: expected a model folder written by save")


def check_target(folder: str | os.PathLike[str]) -> None:
    """Raise ValueError for a folder that :func:`save` would not write to; to be asked before a long fit."""
    target = Path(os.path.abspath(folder))
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ValueError(f"{target} is a file or a link: choose a new folder")
    names = {entry.name for entry in target.iterdir()} if target.exists() else set()
    if others := sorted(names - {TENSORS, DOCUMENT}):
        raise ValueError(f"{target} also holds {others[0]!r}, which saving would delete: choose a new folder")
    if names:
        document = target / DOCUMENT
        if not document.is_file() or f'"{FORMAT}"'.encode() not in read_file(document, MAX_DOCUMENT_BYTES):
            raise ValueError(
                f"{target} is not a genmix model folder, so it is not replaced: choose a new one"
            )


def _swap(new: Path, target: Path) -> None:
    """Put a complete new folder in the place of the old one; the old one is deleted last."""
    previous = _previous(target)
    if not target.exists():
        os.rename(new, target)
    else:
        shutil.rmtree(previous, ignore_errors=True)
        os.rename(target, previous)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(previous, target)
            raise
    sync_folder(target.parent)
    shutil.rmtree(previous, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a new file, and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can (not on Windows)."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_file(path: Path, limit: int | None = None) -> bytes:
    """Read a regular file, at most `limit` bytes. Links and devices may lead anywhere: refused."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)  # a named pipe would wait for ever
    try:
        if path.is_symlink():
            raise ModelFileError(f"{path} is a link: expected the file itself")
        with os.fdopen(os.open(path, flags), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ModelFileError(f"{path} is not a regular file")
            if limit is not None and info.st_size > limit:
                raise ModelFileError(f"{path} has {info.st_size} bytes: expected at most {limit}")
            return file.read() if limit is None else file.read(limit)
    except FileNotFoundError as error:
        raise ModelFileError(f"{path} is missing: the model folder is incomplete") from error
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from error
