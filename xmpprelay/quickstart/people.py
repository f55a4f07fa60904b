"""The demo people: each with an account on the private server and a client of his own.

    alice = Person("alice", jid, password, server.host, server.c2s_port)
    await alice.log_in()
    sent = alice.says(home, "Good morning")
    answer = await alice.sees("an answer", lambda seen: seen.text.startswith("ok #"))
    milliseconds = (answer.at - sent) * 1000

These are clients like anybody's: they know nothing of the relay but its addresses, and all that
comes goes to and fro over TCP. What arrives is kept, in order, until somebody waits for it with
`sees`; so nothing here ever waits for a time to pass, and nothing is missed by waiting too late.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError

from xmpprelay.errors import XmppRelayError

PATIENCE_S: Final = 10.0
"""What any one thing may take. It takes milliseconds; a machine busy with tests may need more."""

_DELAY: Final = "{urn:xmpp:delay}delay"


class NotSeen(XmppRelayError):
    """Something that a person was to see did not come, or came as an error."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that arrived at a person's client."""

    kind: str  # message, error; for presence its type or show: available, away, subscribe, …
    sender: str  # bare JID
    text: str  # the body, the sentence of an error, or the words of a presence
    id: str  # the stanza's
    at: float  # when it arrived, by time.perf_counter
    held: bool = False  # it says that it comes later than it was sent (XEP-0203)


class Person:
    """One of the demo people; `name` is the local part of his `jid`.

    He logs in without TLS, and allows nobody to see his presence unless he is told to.
    """

    def __init__(self, name: str, jid: str, password: str, host: str, port: int) -> None:
        self.name = name
        self.jid = jid
        self._server = host, port
        self._client = self._new_client(password)
        self._connected = False
        self._starting: asyncio.Future[str] | None = None  # a log-in: what is wrong, or nothing
        self._seen: list[Seen] = []
        self._news = asyncio.Event()

    async def log_in(self) -> float:
        """Log in and become available; the time just before he did (time.perf_counter).

        Returns when the server has taken notice. Raises NotSeen.
        """
        self._starting = asyncio.get_running_loop().create_future()
        self._client.connect(*self._server)
        try:
            async with asyncio.timeout(PATIENCE_S):
                problem = await self._starting
                if not problem:
                    self._connected = True
                    came = time.perf_counter()
                    self._client.send_presence()
                    await self._client.get_roster()  # answered when the presence has been taken
                    return came
        except (TimeoutError, IqError):
            problem = f"the server did not answer within {PATIENCE_S:.0f} s"
        finally:
            self._starting = None
        self._client.abort()
        raise NotSeen(f"{self.name} could not log in: {problem}.")

    async def log_out(self) -> None:
        """Become unavailable and close the connection; the server has taken notice of both."""
        if self._connected:
            self._client.send_presence(ptype="unavailable")
            await self._client.disconnect()

    def says(self, to: str, text: str) -> "Sent":
        """Send a chat message."""
        message = self._there().make_message(to, text, mtype="chat")
        message["id"] = name = self._client.new_id()
        sent = Sent(name, time.perf_counter())
        message.send()
        return sent

    def presence(self, to: str, kind: Literal["subscribe", "subscribed"]) -> "Sent":
        """Send presence to somebody: ask to see his, or allow him to see one's own."""
        sent = Sent("", time.perf_counter())
        self._there().send_presence(pto=to, ptype=kind)
        return sent

    def follows(self, jid: str) -> bool:
        """Whether his contact list says that he sees the presence of that bare JID."""
        roster = self._client.client_roster
        return roster.has_jid(jid) and roster[jid]["subscription"] in ("to", "both")

    async def sees(
        self,
        what: str,
        fits: Callable[[Seen], bool],
        *,
        answers: "Sent | None" = None,
        within_s: float | None = PATIENCE_S,
    ) -> Seen:
        """The first that fits of what has arrived, or will.

        `what` names it for NotSeen, which is raised when it does not come in time, when the
        connection is lost, and when what it `answers` comes back as an error.
        """
        sent_id = None if answers is None else answers.id
        try:
            async with asyncio.timeout(within_s):
                while True:
                    found = self.saw(fits)
                    if found is not None:
                        return found
                    refusal = self.saw(lambda seen: seen.kind == "error" and seen.id == sent_id)
                    if refusal is not None:
                        raise NotSeen(f"{self.name} was told: {refusal.text}")
                    self._there()
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise NotSeen(
                f"{self.name} waited {within_s:.0f} s for {what}, and it did not come."
                f"{self._instead()}"
            ) from None

    def saw(self, fits: Callable[[Seen], bool]) -> Seen | None:
        """The first that fits of what has arrived already; it is not given again."""
        found = next((seen for seen in self._seen if fits(seen)), None)
        if found is not None:
            self._seen.remove(found)
        return found

    def _instead(self) -> str:
        """What has come and nobody has waited for, in words."""
        said = [f'"{seen.text}" from {seen.sender}' for seen in self._seen if seen.text]
        return f" What came: {', '.join(said[-3:])}." if said else ""

    def forgets(self) -> None:
        """Drop all that has arrived and nobody has waited for."""
        self._seen.clear()

    def _there(self) -> ClientXMPP:
        """His client, if it is connected."""
        if not self._connected:
            raise NotSeen(f"{self.name} is not connected to the server any more.")
        return self._client

    def _new_client(self, password: str) -> ClientXMPP:
        plain = {"feature_mechanisms": {"unencrypted_plain": True}}
        client = ClientXMPP(self.jid, password, plugin_config=plain)
        client.enable_plaintext = True
        client.enable_direct_tls = client.enable_starttls = False
        client.auto_authorize, client.auto_subscribe = None, False
        started = self._on_started
        client.add_event_handler("session_start", lambda _: started(""))
        client.add_event_handler(
            "failed_all_auth", lambda _: started("the server refuses the password")
        )
        client.add_event_handler("connection_failed", lambda _: started("there is no server"))
        client.add_event_handler("disconnected", self._on_lost)
        client.add_event_handler("message", self._on_message)
        client.add_event_handler("message_error", self._on_error)
        client.add_event_handler("presence", self._on_presence)
        return client

    def _on_started(self, problem: str) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.set_result(problem)

    def _on_lost(self, _reason: object) -> None:
        self._on_started("the server closed the connection")
        self._connected = False
        self._news.set()

    def _on_message(self, stanza: Any) -> None:
        if stanza["type"] != "error":
            held = stanza.xml.find(_DELAY) is not None
            self._arrived("message", stanza, str(stanza["body"]), held=held)

    def _on_error(self, stanza: Any) -> None:
        error = stanza["error"]
        self._arrived("error", stanza, str(error["text"] or error["condition"]))

    def _on_presence(self, stanza: Any) -> None:
        self._arrived(str(stanza["type"]), stanza, str(stanza["status"]))

    def _arrived(self, kind: str, stanza: Any, text: str, *, held: bool = False) -> None:
        now = time.perf_counter()
        sender = str(stanza["from"].bare)
        self._seen.append(Seen(kind, sender, text, str(stanza["id"]), now, held))
        self._news.set()


@dataclass(frozen=True, slots=True)
class Sent:
    """Something that a person's client has sent."""

    id: str  # the stanza's
    at: float  # just before it was handed over, by time.perf_counter
