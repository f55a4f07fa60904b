"""Private XMPP servers for the tests: what every one of them can do, and people on it.

A test asks for a server by a fixture (`prosody`, `fresh_prosody`; see conftest.py) and is written
against `XmppServer`, so that the same test can run on another server. Tests with a relay run on
each kind; in what these differ is said in `towns.py`.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

_numbers = itertools.count(1)


class XmppServer(Protocol):
    """A private server with one domain for people and one component.

    Its ports, secret and data stay the same through `stop`, `kill` and `start`.
    """

    name: ClassVar[str]  # what people call such a server
    host: str
    domain: str
    component_domain: str
    component_secret: str
    c2s_port: int
    component_port: int
    keep: bool  # leave the folder with data and log behind at the end

    @property
    def running(self) -> bool: ...
    @property
    def folder(self) -> Path: ...

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def kill(self) -> None: ...
    async def restart(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    async def add_user(self, name: str, password: str) -> str: ...
    def log_tail(self, lines: int = 20) -> str: ...


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can log in."""

    jid: str  # bare
    password: str
    host: str  # where his client connects to
    port: int


async def new_account(server: XmppServer, name: str) -> Account:
    """An account that no other test has: `alice` becomes `alice-7@example.test`."""
    password = f"{name}'s password"
    jid = await server.add_user(f"{name}-{next(_numbers)}", password)
    return Account(jid, password, server.host, server.c2s_port)
