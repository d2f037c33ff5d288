"""The command line ``genmix``: ``verbs`` has one function a verb; ``main`` runs one and sees to mistakes."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cyclopts import CycloptsError

from genmix.cli.verbs import app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those the program was started with.

    Returns
    -------
    int
        Exit code: 0, 2 after wrong usage or bad input, 130 after Ctrl-C.
    """
    _mend_streams()
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # put back when the block ends
        try:
            app(
                sys.argv[1:] if arguments is None else arguments,
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
            sys.stdout.flush()
        except KeyboardInterrupt:
            print("genmix: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader of our output (head, less) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (CycloptsError, ValueError, OSError, ImportError, FloatingPointError, MemoryError) as error:
            print(f"genmix: {_one_line(error)}", file=sys.stderr)
            return 2
    return 0


def _mend_streams() -> None:
    """Write into the void where a stream is closed, and "?" for what its encoding lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"genmix: warning: {_one_line(message)}", file=sys.stderr)


def _one_line(message: object) -> str:
    if isinstance(message, OSError) and message.strerror and message.filename:
        message = f"{message.strerror}: {str(message.filename)!r}"
    from genmix.base.validation import printable

    return printable(" ".join(str(message).split()))
