"""How a model's public methods are called: each sees one model throughout, in surroundings of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from threading import Lock
from typing import Any, TypeVar, cast

import numpy as np
import torch

F = TypeVar("F", bound=Callable[..., Any])


def make_whole(kind: type) -> None:
    """Make the public methods of a class `whole`, getters and setters of arguments excepted."""
    for name in dir(kind):
        method = inspect.getattr_static(kind, name)
        if inspect.isfunction(method) and not name.startswith(("_", "get_", "set_")):
            if not hasattr(method, "_is_whole"):  # or it is inherited
                setattr(kind, name, whole(method))


def whole(method: F) -> F:
    """See to it that no thread sees half of a fit, and nothing is left of one that fails.

    An answer is that of the model as it is when asked, whatever becomes of the model meanwhile. A fit works
    on a model of its own, which takes the place of this one in one assignment when it has ended well. So a
    fit may give an attribute another value, but not change the value in place.
    """
    fits = "fit" in method.__name__

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = self.__dict__
        model = object.__new__(type(self))
        model.__dict__ = state.copy() if fits else state
        with own_surroundings():
            found = method(model, *args, **kwargs)
        if model.__dict__ is not state:
            self.__dict__ = model.__dict__
        return self if found is model else found

    call._is_whole = True  # type: ignore[attr-defined]
    return cast(F, call)


@contextmanager
def own_surroundings() -> Iterator[None]:
    """Compute as in a fresh process, whatever is set for torch and numpy, and leave that as it is."""
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":  # else it would slow every call of torch
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(_FLOAT32)
        yield


class _DefaultFloat32:
    """Float32 is torch's default type, that of the whole process, until the last thread has left."""

    def __init__(self) -> None:
        self._lock, self._inside, self._other = Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if (found := torch.get_default_dtype()) != torch.float32:
                self._other = found
                torch.set_default_dtype(torch.float32)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._other != torch.float32:
                torch.set_default_dtype(self._other)
                self._other = torch.float32


_FLOAT32 = _DefaultFloat32()
