"""Files and folders: read without surprise, written whole, and by one process at a time."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


class ModelFileError(ValueError):
    """A model folder is missing, damaged, unsafe, or made by a newer genmix."""


class MissingFileError(ModelFileError):
    """One of its files is missing."""


# -------------------------------------------------- what is there, and what can be written


def look(path: Path) -> os.stat_result | None:
    """Tell what is at a path, a link followed; None if nothing is.

    Raises
    ------
    ValueError
        If one cannot know: a name is too long, or a folder above may not be entered.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"cannot reach {_line(path)}: {error.strerror}") from error


@contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the system says while something is read into one line, a ValueError."""
    try:
        yield
    except OSError as error:
        where, reason = error.filename or os.fspath(path), error.strerror or str(error)
        raise ValueError(f"cannot read {_line(where)}: {_line(reason)}") from error


def _line(text: object) -> str:
    from genmix.base.validation import one_line  # that needs numpy, and a command's help waits for nothing

    return one_line(str(text))


def check_names(path: Path) -> Path:
    """Find the nearest folder above `path` that is there, and see that the names below it can be given.

    Raises
    ------
    ValueError
        If a name, or all of them together, are too long.
    """
    folder = path.parent
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    longest = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    for name in path.relative_to(folder).parts:
        if (size := len(os.fsencode(name))) > longest:
            raise ValueError(
                f"cannot write to {name[:20]}...: that name has {size} bytes, expected at most {longest}"
            )
    look(path.parent)
    look(path)
    return folder


def check_writable(path: Path) -> None:
    """Make sure, before hours of work, that a file can be written at the end of them.

    Parameters
    ----------
    path : Path
        The file; the folders above it may be missing.

    Raises
    ------
    ValueError
        If a name is too long, something that is no folder stands in the way, or the nearest folder cannot be
        written to.
    """
    folder = path.parent
    try:
        nearest = check_names(path)
        while not os.path.lexists(folder) and folder != nearest:
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(_line(f"cannot write {str(path)!r}: {reason} ({str(folder)!r})")) from error


# -------------------------------------------------- whole, synced, and no links


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
        raise MissingFileError(f"{path} is missing: the model folder is incomplete") from error
    except OSError as error:
        raise ModelFileError(f"{_line(path)} cannot be read: {error.strerror}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a new file, and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(part: Path, path: Path, content: bytes) -> None:
    """Write `part`, a new file in the same folder, and let it take the place of `path` when it is whole."""
    try:
        write_file(part, content)
        _replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _replace(part: Path, path: Path) -> None:
    for wait in (0.01, 0.1, 1.0) if sys.platform == "win32" else ():
        try:
            os.replace(part, path)
            return
        except PermissionError:  # Windows replaces no file that is open: its readers are done soon
            time.sleep(wait)
    os.replace(part, path)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can (not on Windows)."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# -------------------------------------------------- one process at a time


@contextmanager
def alone(file: IO[Any] | int, *, wait: bool = True) -> Iterator[bool]:
    """Keep others out who ask for the same file or folder, until the block ends or the process is killed.

    Parameters
    ----------
    file : file object or int
        What is open.
    wait : bool
        Wait until nobody else is in.

    Yields
    ------
    bool
        Whether others are kept out. Windows and some network disks cannot; without `wait`, not while somebody
        else is in.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def alone_in(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Keep others out of a folder that is there; see `alone`."""
    if not hasattr(os, "O_DIRECTORY"):
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with alone(descriptor, wait=wait) as held:
            yield held
    finally:
        os.close(descriptor)
