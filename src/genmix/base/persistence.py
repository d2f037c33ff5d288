"""Models on disk: a folder with ``model.json`` and the file of tensors that it names, by its checksum.

Nothing is ever unpickled and no code is named by the files: a class is looked up in the registry. Both files
carry a checksum: a damaged model is told before it is used.

A save writes the tensors beside those in use, ``model-CHECKSUM.safetensors``, then the document, which takes
the place of the one before in one step, and deletes what no document names: whoever reads meanwhile, and
whatever is killed, there is the old model or the new one. Savers wait for each other; readers do not.

A model takes part by a method ``_export() -> (tensors, meta)``, with `meta` made of what JSON can hold, and
two class methods: ``_restore(tensors, meta) -> model``, and ``_upgrade(meta) -> meta`` for genmix 0.1.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import re
import time
import uuid
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from genmix.base.calls import own_surroundings
from genmix.base.device import resolve_device
from genmix.base.files import (
    MissingFileError,
    ModelFileError,
    alone_in,
    check_names,
    look,
    read_file,
    readable,
    replace_file,
    sync_folder,
)
from genmix.base.registry import MODELS
from genmix.base.validation import one_line, printable, short_repr
from genmix.base.version import __version__

__all__ = ["ModelFileError", "check_target", "load", "own_copy", "read_model", "remove_half", "save"]

FORMAT, SCHEMA = "genmix-model", 2  # 1: genmix 0.1
DOCUMENT = "model.json"
MAX_DOCUMENT_BYTES = 16 * 2**20  # a history of 100,000 EM iterations fits; a JSON bomb does not
MAX_PARTS = 300_000  # lists and dictionaries in it: three an iteration

#: The tensors of a document that names none, as genmix 0.1 wrote them.
_UNNAMED = "model.safetensors"
_TENSORS = re.compile(r"model-[0-9a-f]{16}\.safetensors")
#: A file that a save is writing, or was when it was killed.
_PART = re.compile(r"\.model-[0-9a-f]{32}")
#: Where locks do not work, nothing younger than so many seconds is deleted: another save may be at work.
_OLD = 3600.0
#: How often a folder in which another model takes its place is read again, and the seconds in between.
_TRIES, _PAUSE = 20, 0.005


def save(model: Any, folder: str | os.PathLike[str]) -> Path:
    """Write a fitted model to a folder, whole or not at all.

    A model already there is replaced in one step: if anything goes wrong, or the process is killed, it stays.
    Who loads it meanwhile gets the old one or the new one; of two who save, one waits for the other.

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
        type JSON lacks), or `folder` holds something else than a model or cannot be called so.
    OSError
        If the disk refuses (full, read-only).
    """
    target = Path(os.path.abspath(folder))
    check_target(target)
    name, content, document = _encode(model)
    for left in reversed(range(_TRIES)):
        made = not target.exists()
        target.mkdir(parents=True, exist_ok=True)
        try:
            with alone_in(target) as held:
                _put(target, name, content, document, made=made, held=held)
            break
        except FileNotFoundError:  # somebody has removed the folder
            if not left:
                raise
    _remove_hidden(target)
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
    path = Path(folder)
    document, content = read_model(path)
    kind = MODELS[document["class"]].load_class()
    if unknown := sorted(set(own) - set(inspect.signature(kind).parameters)):
        raise ValueError(f"{unknown[0]!r} is no argument of a {document['class']}, which {path} holds")
    if "device" in own:
        resolve_device(own["device"])
    try:
        meta = document["meta"] if document["schema"] > 1 else kind._upgrade(document["meta"])
        with own_surroundings():
            return kind._restore(safetensors.torch.load(content), meta, **own)
    except MemoryError:
        raise
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except Exception as error:  # both files may be forged: whatever they provoke is the files' fault
        reason = one_line(printable(str(error) or type(error).__name__))
        raise ModelFileError(f"{path} does not hold a usable {document['class']}: {reason}") from error


def read_model(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Read the two files of a model, of the same one even while another takes its place.

    Parameters
    ----------
    folder : Path
        A model folder. What killed saves have left in it is deleted, where that can be.

    Returns
    -------
    document : dict
        What ``model.json`` holds: of a known format, schema and class, with its checksum right.
    content : bytes
        The tensors, of the checksum that the document names.

    Raises
    ------
    ModelFileError
        As `load`.
    """
    _check_folder(folder)
    for left in reversed(range(_TRIES)):
        document = _read_document(folder / DOCUMENT)
        tensors = folder / _name_in(document)
        try:
            content = read_file(tensors)
            break
        except MissingFileError:
            if not left:
                raise
            time.sleep(_PAUSE)
    if hashlib.sha256(content).hexdigest() != document.get("sha256"):
        raise ModelFileError(f"{tensors} is damaged or belongs to another model: its checksum differs")
    with suppress(OSError, ValueError):  # the folder may be somebody else's
        if _left(folder, tensors.name):
            with alone_in(folder, wait=False) as held:
                if held:  # another model may have taken the place
                    _tidy(folder, _name_in(_read_document(folder / DOCUMENT)), held=True)
    return document, content


# -------------------------------------------------- what the two files hold


def _encode(model: Any) -> tuple[str, bytes, bytes]:
    """Make the name and content of the file of tensors, and the document."""
    cls = type(model)
    if cls.__name__ not in MODELS or MODELS[cls.__name__].module != cls.__module__:
        raise ValueError(f"cannot save a {cls.__qualname__}: expected one of {', '.join(sorted(MODELS))}")
    tensors, meta = model._export()
    content = safetensors.torch.save({name: own_copy(tensor) for name, tensor in tensors.items()})
    versions = {package: metadata.version(package) for package in ("torch", "scikit-learn", "numpy")}
    versions |= {"python": platform.python_version(), "genmix": __version__}
    checksum = hashlib.sha256(content).hexdigest()
    name = f"model-{checksum[:16]}.safetensors"
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "class": cls.__name__,
        "meta": meta,
        "versions": versions,
        "tensors": name,
        "sha256": checksum,
    }
    try:
        document["document_sha256"] = _checksum(document)
        text = json.dumps(document, indent=1, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"cannot save this {cls.__name__}: {error}; expected finite numbers, strings, lists and dicts"
        ) from error
    if (parts := text.count(b"[") + text.count(b"{")) > MAX_PARTS:
        limit = f"at most {MAX_PARTS} can be loaded again"
        raise ValueError(f"cannot save this {cls.__name__}: it takes {parts} lists and dictionaries, {limit}")
    if len(text) > MAX_DOCUMENT_BYTES:
        limit = f"at most {MAX_DOCUMENT_BYTES} can be loaded again"
        raise ValueError(f"cannot save this {cls.__name__}: it takes {len(text)} bytes of JSON, {limit}")
    return name, content, text


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
    if (parts := content.count(b"[") + content.count(b"{")) > MAX_PARTS:
        raise ModelFileError(f"{path} has {parts} lists and dictionaries: expected at most {MAX_PARTS}")
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
    name = _name_in(document)
    if not isinstance(name, str) or not (name == _UNNAMED or _TENSORS.fullmatch(name)):
        given = short_repr(name)
        raise ModelFileError(f"{path} names the tensors {given}: expected model-CHECKSUM.safetensors")
    return document


def _name_in(document: dict[str, Any]) -> Any:
    """Name of the file of tensors."""
    return document.get("tensors", _UNNAMED)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number JSON allows")


# -------------------------------------------------- the folder, and what killed saves leave in it


def _check_folder(folder: Path) -> None:
    try:
        found = look(folder)
    except ValueError as error:
        raise ModelFileError(str(error)) from error
    if found is None or not folder.is_dir():
        problem = "does not exist" if found is None else "is not a folder"
        raise ModelFileError(f"{folder} {problem}: expected a model folder written by save")


def check_target(folder: str | os.PathLike[str]) -> None:
    """Raise ValueError for a folder that :func:`save` would not write to; to be asked before a long fit."""
    target = Path(os.path.abspath(folder))
    check_names(target / f".model-{uuid.uuid4().hex}")
    found = look(target)
    if target.is_symlink() or (found is not None and not target.is_dir()):
        raise ValueError(f"{target} is a file or a link: choose a new folder")
    with readable(target):
        names = set[str]() if found is None else set(os.listdir(target))
        ours = {DOCUMENT, _UNNAMED, *_left(target, "")} if names else set()
    if others := sorted(name for name in names - ours if os.path.lexists(target / name)):
        raise ValueError(f"{target} also holds {others[0]!r}, which saving would delete: choose a new folder")
    if names & {DOCUMENT, _UNNAMED}:
        document = target / DOCUMENT
        if not document.is_file() or f'"{FORMAT}"'.encode() not in read_file(document, MAX_DOCUMENT_BYTES):
            raise ValueError(
                f"{target} is not a genmix model folder, so it is not replaced: choose a new one"
            )


def _put(folder: Path, name: str, content: bytes, document: bytes, *, made: bool, held: bool) -> None:
    """Write both files, the document last; nothing is left of what fails."""
    try:
        part = folder / f".model-{uuid.uuid4().hex}"
        replace_file(part, folder / name, content)
        sync_folder(folder)
        replace_file(part, folder / DOCUMENT, document)
        sync_folder(folder)
        if made:
            sync_folder(folder.parent)
    except BaseException:
        with suppress(OSError, ValueError):  # of a document that is damaged nothing is known
            first = not os.path.lexists(folder / DOCUMENT)
            _tidy(folder, "" if first else _name_in(_read_document(folder / DOCUMENT)), held=held)
            if first and made:
                folder.rmdir()
        raise
    _tidy(folder, name, held=held)


def _left(folder: Path, used: str) -> list[str]:
    """Names of regular files that saves write and that are not in use."""
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if entry.name != used
            and (entry.name == _UNNAMED or _TENSORS.fullmatch(entry.name) or _PART.fullmatch(entry.name))
            and entry.is_file(follow_symlinks=False)
        ]


def _tidy(folder: Path, used: str, *, held: bool) -> None:
    """Delete what is not in use; to be called by the only one at work in a folder."""
    for name in _left(folder, used):
        with suppress(OSError):  # Windows deletes no file that somebody reads
            if held or time.time() - (folder / name).stat().st_mtime > _OLD:
                (folder / name).unlink()


def remove_half(folder: Path) -> None:
    """Delete a folder in which a first save was killed, unless a save is at work in it."""
    with suppress(OSError, ValueError):
        with alone_in(folder, wait=False) as held:
            if held and not os.path.lexists(folder / DOCUMENT):
                check_target(folder)
                _tidy(folder, "", held=True)
                folder.rmdir()


def _remove_hidden(target: Path) -> None:
    """Delete what killed saves of genmix 0.1 left beside a model that is now replaced."""
    hidden = re.compile(rf"\.{re.escape(target.name)}\.(previous|[0-9a-f]{{32}})")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if hidden.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                _remove_model(Path(entry.path))


def _remove_model(folder: Path) -> None:
    with suppress(OSError):
        if set(os.listdir(folder)) <= {DOCUMENT, _UNNAMED}:
            for name in os.listdir(folder):
                (folder / name).unlink()
            folder.rmdir()
