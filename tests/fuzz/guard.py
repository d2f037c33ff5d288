"""Runs a function over hostile cases in processes of their own, and tells which rules each case broke.

A case may take two seconds of CPU and 500 MB of memory; it may start no process, write no file, unpickle no
class, and end in nothing but an answer or a ValueError of one line. The rules are kept by the system where it
can, so that nothing a library catches or does in C is missed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

#: How long each test of this folder looks for faults, and from which seed.
SECONDS = float(os.environ.get("FUZZ_SECONDS", "25"))
SEED = int(os.environ.get("FUZZ_SEED", "2026"))

CPU_SECONDS = 2.0
WALL_SECONDS = 20.0  # for what waits and uses no CPU
MEMORY = 500_000_000
_BATCH = 50  # cases of one process
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = (  # audit events, or their beginnings
    "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.",
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
    "os.truncate", "os.utime", "shutil.", "tempfile.", "pickle.find_class", "socket.connect", "socket.bind",
)  # fmt: skip
_SIGNALS = {
    signal.SIGPROF: f"took more than {CPU_SECONDS} s of CPU",
    signal.SIGSYS: "started a process or made a file",
    signal.SIGXFSZ: "wrote to a file",
}


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Parameters
    ----------
    case : object
        The case.
    answer : object
        What the function returned, None where it raised.
    error, text : str
        Name of the exception's class and its text, "" where there was none.
    fault : str
        The rule that was broken, "" if none was.
    warnings : tuple of str
        Class and text of each warning.
    seconds : float
        CPU time.
    memory : int
        Peak of memory in bytes above what the process had before; 0 for cases of a few milliseconds.
    """

    case: Any
    answer: Any = None
    error: str = ""
    text: str = ""
    fault: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    memory: int = 0


def run(
    function: Callable[[Any], Any],
    cases: Iterable[Any],
    *,
    seconds: float = SECONDS,
    allowed: tuple[type[BaseException], ...] = (ValueError,),
    size: Callable[[Any], int] = lambda case: 0,
) -> Iterator[Outcome]:
    """Give the outcome of `function(case)` for each case, in order, as long as there is time.

    Import and warm up what the function needs before. What it returns has to be small, to be pickled. `size`
    tells the bytes that a case may take beside the usual; `allowed` exceptions are no fault on one line.
    """
    end, cases = time.monotonic() + seconds, iter(cases)
    while time.monotonic() < end and (batch := list(islice(cases, _BATCH))):
        while batch:
            done = list(_run_child(function, batch, allowed, size))
            yield from done
            batch = batch[len(done) :]  # a process that died leaves the others to the next


def _run_child(
    function: Callable[[Any], Any], batch: list[Any], allowed: tuple[Any, ...], size: Callable[[Any], int]
) -> Iterator[Outcome]:
    """Run cases in one process until all are done or it dies; whoever waits here looks at its memory."""
    ours, theirs = Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fork with threads: those of pytest and torch do not matter
        child = os.fork()
    if not child:
        ours.close()
        _serve(function, batch, allowed, theirs)
    theirs.close()
    try:
        for case in batch:
            before, most, start, fault = _memory(child), 0, time.monotonic(), ""
            while not fault and not ours.poll(0.01):
                most = max(most, _memory(child) - before)
                if most > MEMORY + size(case):
                    fault = f"took {most / 1e6:.0f} MB or more"
                elif time.monotonic() - start > WALL_SECONDS:
                    fault = f"took more than {WALL_SECONDS} s, waiting"
            try:
                found = {"fault": fault} if fault else ours.recv()
            except EOFError:  # the process died
                _, status = os.waitpid(child, 0)
                child, number = 0, os.waitstatus_to_exitcode(status)
                found = {"fault": _SIGNALS.get(-number, f"ended the process, exit code {number}")}
            yield Outcome(case, memory=most, **found)
            if found["fault"]:
                return
    finally:
        ours.close()
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _serve(
    function: Callable[[Any], Any], batch: list[Any], allowed: tuple[Any, ...], answers: Connection
) -> None:
    """Be the child: run each case under the rules and send what became of it; never return."""
    found: dict[str, Any] = {}

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and arguments[0] != os.devnull and arguments[2] & _WRITING
        if found and (writes or event.startswith(_FORBIDDEN)):
            shown = " ".join(f"{event} {arguments}".split())[:300]
            answers.send({"fault": f"did what is forbidden: {shown}"})
            os._exit(0)

    try:
        _forbid(refuse)
        for case in batch:
            start, found = time.process_time(), {"fault": ""}
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    found["answer"] = function(case)
                except BaseException as error:
                    found |= {"error": type(error).__name__, "text": str(error)}
                    found["fault"] = _fault(error, allowed)
            signal.setitimer(signal.ITIMER_PROF, 0)
            found["seconds"] = time.process_time() - start
            found["warnings"] = tuple(f"{one.category.__name__}: {one.message}" for one in caught)
            answers.send(found)
            found = {}
    finally:
        os._exit(1 if sys.exc_info()[0] else 0)


def _fault(error: BaseException, allowed: tuple[Any, ...]) -> str:
    if not isinstance(error, allowed):
        return f"raised {type(error).__name__}"
    if len(str(error).splitlines()) != 1:
        return "raised an error of several lines, or none"
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, MemoryError) or "allocate" in str(reason):
            return "asked for more memory than there is"
        reason = reason.__cause__ or reason.__context__
    return ""


def _memory(process: int) -> int:
    """Bytes of its own, without what it shares or maps of files; 0 where the system does not tell."""
    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as file:
            _, resident, shared = map(int, file.read().split()[:3])
    except (OSError, ValueError):  # another system, or a process that has just ended
        return 0
    return (resident - shared) * resource.getpagesize()


def _forbid(refuse: Callable[[str, tuple[Any, ...]], None]) -> None:
    """Set the rules of this process, for good."""
    sys.dont_write_bytecode = True
    for stream in (1, 2):  # what C libraries print: pytest has them write into a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.addaudithook(refuse)
    for number in (signal.SIGPROF, signal.SIGXFSZ):  # Python itself would turn the latter into an OSError
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        # Allocators reserve much that they never use, so this is wide: it keeps the machine alive, no more.
        most = pages * resource.getpagesize() + 16 * MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        _deny_calls()


def _deny_calls() -> None:
    """Let the kernel end this process when it starts another or makes a file (seccomp, man 2 seccomp)."""
    machines = {  # its number, and those of clone3, clone, openat, and of calls that are never allowed
        "x86_64": (0xC000003E, 435, 56, 257, (57, 58, 59, 85, 322)),  # fork, vfork, execve, creat, execveat
        "aarch64": (0xC00000B7, 435, 220, 56, (221, 281)),
    }
    if platform.machine() not in machines:
        return
    machine, clone3, clone, openat, never = machines[platform.machine()]
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
    allow, kill, not_there = 0x7FFF0000, 0x80000000, 0x00050000 | 38  # ENOSYS: threads come by clone then
    thread = 0x10000  # CLONE_THREAD
    code = [(load, 0, 0, 4), (equal, 1, 0, machine), (give, 0, 0, allow), (load, 0, 0, 0)]
    for number in never:
        code += [(equal, 0, 1, number), (give, 0, 0, kill)]
    code += [(equal, 0, 1, clone3), (give, 0, 0, not_there)]
    code += [(equal, 0, 3, clone), (load, 0, 0, 16), (any_bit, 1, 0, thread), (give, 0, 0, kill)]
    code += [(load, 0, 0, 0), (equal, 0, 3, openat), (load, 0, 0, 32), (any_bit, 0, 1, os.O_CREAT)]
    code += [(give, 0, 0, kill), (give, 0, 0, allow)]

    class Step(ctypes.Structure):
        _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8),
                    ("value", ctypes.c_uint32))  # fmt: skip

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(Step)))

    program = Program(len(code), (Step * len(code))(*(Step(*step) for step in code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: it ends with whoever started it
    prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if prctl(22, 2, ctypes.byref(program), 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")
