"""The guard of conftest: a test that wants out of the machine fails, whatever it does with the error."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import conftest
from genmix import datasets


@pytest.fixture(autouse=True)
def forgive() -> Iterator[None]:
    """These tests want to reach others: what they tried is not held against them."""
    yield
    conftest.REACHED.clear()


def test_names_and_addresses_of_others_are_refused() -> None:
    for host in ("genmix.invalid", "192.0.2.1", "2001:db8::1"):
        with pytest.raises(pytest.fail.Exception, match=f"{host}.*no network"):
            socket.create_connection((host, 80), timeout=1)
    with socket.socket(type=socket.SOCK_DGRAM) as one, pytest.raises(pytest.fail.Exception, match="network"):
        one.sendto(b"", ("192.0.2.1", 53))
    with socket.socket() as one, pytest.raises(pytest.fail.Exception, match="no network"):
        one.connect_ex(("192.0.2.1", 80))
    assert len(conftest.REACHED) == 5


def test_a_caught_error_and_a_thread_are_remembered() -> None:
    def reach() -> None:
        with contextlib.suppress(BaseException):
            socket.create_connection(("genmix.invalid", 80), timeout=1)

    thread = threading.Thread(target=reach)
    thread.start()
    thread.join()
    assert conftest.REACHED == ["genmix.invalid"]


def test_this_machine_may_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    assert conftest.REACHED == []


def test_no_test_can_fetch_a_data_set() -> None:
    assert "GENMIX_DATA" not in os.environ
    with pytest.raises(pytest.fail.Exception, match=r"the proxy.*no network"):
        datasets.load("mnist")


def test_processes_of_tests_have_no_way_out_either() -> None:
    code = "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=20)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Connection refused" in done.stderr
