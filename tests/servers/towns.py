"""The servers that the tests with a relay run on, and in what they differ.

A town is a private server with two more domains beside it, `far.test` and `odd.test`: components
whose every stanza a test writes itself (`FarServer`). Every test runs in each kind of town. Where
the kinds treat people or the relay in different ways, the town says so here, by its attributes; a
test asks for these, and never for the kind.
"""

import json
from pathlib import Path
from typing import Any, Final, Protocol

from tests.servers import XmppServer
from tests.servers.ejabberd import Ejabberd
from xmpprelay.quickstart.prosody import Prosody

FAR: Final = "far.test"
ODD: Final = "odd.test"
FAR_SECRET: Final = "far"


class Town(XmppServer, Protocol):
    """A private server with two far domains beside it."""

    answers_for_the_absent: bool
    """Whether a probe of somebody offline is answered with `unavailable`; else with nothing."""

    takes_leave: bool
    """Whether it says `unavailable` for everybody when it is stopped; else for some, or nobody."""

    one_stream: bool
    """Whether a component may have one connection; else stanzas go to any of them."""

    repeats_requests: bool
    """Whether a subscription that was asked for in vain is asked for again at the next login."""

    passes_permission_on: bool
    """Whether a permission to see one's presence that nobody has asked for is passed on."""

    tells_strangers: bool
    """Whether a component that it does not know is told that; else that its secret is wrong."""

    deepest: int
    """How many elements in elements it passes on and survives; many more end an ejabberd 23.01."""

    async def flush(self) -> None:
        """Put on disk what a kill could lose: contacts, stored messages."""

    async def stored(self, jid: str) -> int:
        """How many messages it holds for somebody who is offline."""


class ProsodyTown(Prosody):
    """A Prosody."""

    answers_for_the_absent = True
    takes_leave = True
    one_stream = True
    repeats_requests = True
    passes_permission_on = False
    tells_strangers = True
    deepest = 30_000

    def __init__(self, *, more: str = "", **options: Any) -> None:
        """`more` goes into the global part of the configuration."""
        components = "\n".join(
            f'Component "{domain}"\n    component_secret = "{FAR_SECRET}"' for domain in (FAR, ODD)
        )
        super().__init__(extra_config=f"{more}\n{components}", **options)
        self._has_accounts = False

    async def add_user(self, name: str, password: str) -> str:
        """Writes what `prosodyctl` would, which takes 50 ms of a processor for each account."""
        if not self._has_accounts:  # nor a folder for them
            jid = await super().add_user(name, password)
            self._has_accounts = True
            return jid
        jid = f"{name}@{self.domain}"
        file = self._file_of("accounts", jid)
        file.write_text(f"return {{ password = {json.dumps(password)} }};\n", encoding="utf-8")
        self._runner.own(file)
        return jid

    async def flush(self) -> None:
        """It writes at once."""

    async def stored(self, jid: str) -> int:
        """One file for each person, and in it `item({…})` for each message."""
        file = self._file_of("offline", jid).with_suffix(".list")
        return file.read_text().count("item(") if file.exists() else 0

    def _file_of(self, store: str, jid: str) -> Path:
        name, _, domain = jid.partition("@")
        escaped = [part.replace("-", "%2d").replace(".", "%2e") for part in (domain, name)]
        return self.folder / "data" / escaped[0] / store / f"{escaped[1]}.dat"


class EjabberdTown(Ejabberd):
    """An ejabberd."""

    answers_for_the_absent = False
    takes_leave = False
    one_stream = False
    repeats_requests = False
    passes_permission_on = True
    tells_strangers = False
    deepest = 1_000

    def __init__(self, **options: Any) -> None:
        super().__init__(components=dict.fromkeys((FAR, ODD), FAR_SECRET), **options)

    async def stored(self, jid: str) -> int:
        name, _, domain = jid.partition("@")
        return int(
            await self.ask(f'mod_offline:count_offline_messages(<<"{name}">>, <<"{domain}">>).')
        )


TOWNS: Final = (ProsodyTown, EjabberdTown)
