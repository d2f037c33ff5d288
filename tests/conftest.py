"""Small data that every test may use, and what no test may: the network, and folders of the machine."""

from __future__ import annotations

import ipaddress
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from sklearn.datasets import make_blobs

# Only tests marked `data` see the folder of the larger data sets, and no test a download of years ago.
DATA = os.environ.pop("GENMIX_DATA", "") or os.environ.get("GENMIX_TEST_DATA", "")
os.environ["GENMIX_TEST_DATA"] = DATA  # what pytest-xdist's workers find, who start without the other
os.environ["SCIKIT_LEARN_DATA"] = str(Path(tempfile.gettempdir()) / "genmix-tests-have-no-downloads")
NOBODY = 9
# Processes that a test starts are out of the guard's reach: their way out is a port where nobody listens.
for _scheme in ("http", "https", "ftp", "all"):
    os.environ[f"{_scheme}_proxy"] = os.environ[f"{_scheme.upper()}_PROXY"] = f"http://127.0.0.1:{NOBODY}"
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = "localhost,127.0.0.1,::1"

# For `make mutation`: the same examples for every mutant, and no search for the smallest that fails.
settings.register_profile(
    "mutation", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)


REACHED: list[str] = []


def _refuse(host: Any, port: Any = None) -> None:
    """Fail the test that wants to reach another machine; tests of threads and caught errors fail later."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return
    try:
        if ipaddress.ip_address(name).is_loopback and port != NOBODY:
            return
    except ValueError:  # a name
        pass
    REACHED.append("the proxy" if port == NOBODY else str(name))
    pytest.fail(f"a test wants to reach {REACHED[-1]}: tests have no network")


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Look up and connect to nothing beyond this machine, in fixtures of modules too."""
    look_up = socket.getaddrinfo

    def guarded_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        _refuse(host, arguments[0] if arguments else None)
        return look_up(host, *arguments, **options)

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: socket.socket, *arguments: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                _refuse(*arguments[-1][:2])  # the address is the last of (address), (data, flags, address)
            return method(self, *arguments)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        yield


@pytest.fixture(autouse=True)
def _reached_nothing() -> Iterator[None]:
    """Fail a test whose threads wanted out, or that took the guard's answer for a lost network."""
    REACHED.clear()
    yield
    if REACHED:
        pytest.fail(f"a test wanted to reach {', '.join(REACHED)}: tests have no network")


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of the larger data sets, to tests marked `data`: `make test-data` runs them."""
    if not DATA:
        pytest.skip("GENMIX_DATA names no folder")
    if not Path(DATA, "mnist.npz").is_file():
        pytest.fail(f"the folder GENMIX_DATA={DATA!r} has no mnist.npz")
    monkeypatch.setenv("GENMIX_DATA", DATA)
    return Path(DATA)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Bits are equal for one thread count only; small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Three well separated groups of 200 points in the plane."""
    return make_blobs(600, centers=[[0, 0], [8, 0], [0, 8]], random_state=0)


@pytest.fixture(scope="session")
def squares() -> tuple[np.ndarray, np.ndarray]:
    """200 uint8 images of 12 x 12 pixels: a bright square at the left or at the right, with noise."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    images = rng.integers(0, 40, (200, 12, 12))
    images[y == 0, 3:9, 1:5] += 180
    images[y == 1, 3:9, 7:11] += 180
    return images.astype(np.uint8), y
