"""Fixtures for all tests: private servers, and people on them.

A server is kept, and its folder named at the end of the run, if a test failed and XMPPRELAY_KEEP=1.

`make test` runs the tests in two processes. Each has half of the list, and takes of the other's
rest when it is through. Tests that share a server stand together in the list (pytest sorts by the
parameters of the whole session), so a process starts few servers.
"""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.servers import Account, XmppServer, new_account
from xmpprelay.quickstart import private_server
from xmpprelay.quickstart.prosody import Prosody


def pytest_configure(config: pytest.Config) -> None:
    """One of several processes: a port that it means to use later is not taken by another."""
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        number, many = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
        private_server.PORTS = private_server.PORTS[number::many]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _session_prosody(request: pytest.FixtureRequest) -> AsyncIterator[Prosody]:
    async with Prosody() as server:
        yield server
        keep_after_failure(server, request)


@pytest.fixture
def prosody(_session_prosody: Prosody) -> Prosody:
    """The server that most tests share. Each uses accounts of its own (`new_account`)."""
    return _session_prosody


@pytest.fixture
async def fresh_prosody(request: pytest.FixtureRequest) -> AsyncIterator[Prosody]:
    """A server for this test alone, to be stopped, killed or paused at will."""
    async with Prosody() as server:
        yield server
        keep_after_failure(server, request)


@pytest.fixture
def account(prosody: Prosody) -> Callable[[str], Awaitable[Account]]:
    """Makes people on the shared server: `alice = await account("alice")`."""

    async def make(name: str) -> Account:
        return await new_account(prosody, name)

    return make


def keep_after_failure(server: XmppServer, request: pytest.FixtureRequest) -> None:
    """Saves a server's folder from being removed, if somebody wants to look at it."""
    if os.environ.get("XMPPRELAY_KEEP") == "1" and request.session.testsfailed:
        server.keep = True
        # Past what pytest captures; one of several processes has no terminal but this.
        print(f"\nKept for you: {server.folder}", file=sys.__stderr__)
