"""An XMPP client made with aioxmpp, driven over stdin and stdout by lines of JSON.

It is run as a process by the Python of `.venv-aioxmpp`, and so shares nothing with the relay or the
tests, not even an interpreter. It must not import anything of the project.

Each line on stdin is one command, `{"do": NAME, …}`:

    login      jid, password, host, port; optional: resource
    presence   optional: show (away, chat, dnd, xa), status, priority
    offline    stays connected, and sends `unavailable`
    subscribe, unsubscribe, subscribed, unsubscribed     to
    send_chat  to, body; optional: id
    quit       logs out; the end of stdin does the same

Each line on stdout is one event: `{"event": "done", "do": NAME, …}` when a command has been carried
out (`id` names the message of a `send_chat`, `jid` the full address after a `login`), `{"event":
"failed", "do": NAME, "reason": …}` when it has not, and whatever arrives, as it arrives:

    {"event": "message", "from", "to", "type", "id", "body", "delay"}
    {"event": "presence", "from", "to", "type", "id", "show", "status", "priority"}

A presence without a type counts as "available". `body`, `show`, `status` and `delay` (a time in ISO
format) are null where the stanza has none. Commands are carried out one after the other. What the
library logs goes to stderr.
"""

import asyncio
import json
import sys
from typing import Any

import aioxmpp
import aioxmpp.connector
import aioxmpp.misc  # gives messages their delay
import aioxmpp.service

PRESENCE_TYPES = {
    "subscribe": aioxmpp.PresenceType.SUBSCRIBE,
    "unsubscribe": aioxmpp.PresenceType.UNSUBSCRIBE,
    "subscribed": aioxmpp.PresenceType.SUBSCRIBED,
    "unsubscribed": aioxmpp.PresenceType.UNSUBSCRIBED,
}


def tell(event: str, **fields: Any) -> None:
    """Writes one event."""
    print(json.dumps({"event": event, **fields}), flush=True)


def tell_message(stanza: aioxmpp.Message) -> aioxmpp.Message:
    """Writes a message that has arrived, and passes it on."""
    delays = [str(delay.stamp.isoformat()) for delay in stanza.xep0203_delay]
    tell(
        "message",
        **addresses(stanza),
        body=stanza.body.any() if stanza.body else None,
        delay=delays[0] if delays else None,
    )
    return stanza


def tell_presence(stanza: aioxmpp.Presence) -> aioxmpp.Presence:
    """Writes a presence that has arrived, and passes it on."""
    tell(
        "presence",
        **addresses(stanza),
        show=stanza.show.value,
        status=stanza.status.any() if stanza.status else None,
        priority=stanza.priority,
    )
    return stanza


def addresses(stanza: Any) -> dict[str, Any]:
    """The attributes that each kind of stanza has."""
    return {
        "from": str(stanza.from_) if stanza.from_ else None,
        "to": str(stanza.to) if stanza.to else None,
        "type": stanza.type_.value or "available",
        "id": stanza.id_,
    }


class Driven:
    """One client and the commands it knows, one method each."""

    def __init__(self) -> None:
        self.client: Any = None

    async def login(self, jid: str, password: str, host: str, port: int, **more: str) -> Any:
        # The private servers of the tests speak plain TCP on the loopback.
        security = aioxmpp.make_security_layer(password, no_verify=True)
        security = security._replace(tls_required=False)
        self.client = aioxmpp.PresenceManagedClient(
            aioxmpp.JID.fromstr(jid).replace(resource=more.get("resource")),
            security,
            override_peer=[(host, port, aioxmpp.connector.STARTTLSConnector())],
            max_initial_attempts=1,
        )
        self.client.summon(aioxmpp.RosterClient)  # so that roster pushes are answered
        stream = self.client.stream
        stream.app_inbound_message_filter.register(tell_message, 0)
        stream.app_inbound_presence_filter.register(tell_presence, 0)
        online, failed = asyncio.Event(), asyncio.get_running_loop().create_future()
        self.client.on_stream_established.connect(online.set)
        self.client.on_failure.connect(failed.set_result)
        self.client.presence = aioxmpp.PresenceState(available=True)
        waiter = asyncio.ensure_future(online.wait())
        await asyncio.wait({waiter, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            waiter.cancel()
            raise failed.result()
        return {"jid": str(self.client.local_jid)}

    async def presence(self, show: str = "", status: str = "", priority: int = 0) -> None:
        # Not by the library's PresenceServer, which forgets the priority.
        stanza = aioxmpp.Presence(show=aioxmpp.PresenceShow(show or None))
        if status:
            stanza.status[None] = status
        stanza.priority = priority
        await self.client.send(stanza)

    async def offline(self) -> None:
        await self.client.send(aioxmpp.Presence(type_=aioxmpp.PresenceType.UNAVAILABLE))

    async def change_subscription(self, kind: str, to: str) -> None:
        address = aioxmpp.JID.fromstr(to)
        await self.client.send(aioxmpp.Presence(type_=PRESENCE_TYPES[kind], to=address))

    async def send_chat(self, to: str, body: str, **more: str) -> Any:
        stanza = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=aioxmpp.JID.fromstr(to))
        stanza.body[None] = body
        if "id" in more:
            stanza.id_ = more["id"]
        else:
            stanza.autoset_id()
        await self.client.send(stanza)
        return {"id": stanza.id_}

    async def command(self, to: str, node: str, **values: str) -> Any:
        """Execute an ad-hoc command, fill in its form, if there is one, and complete it."""
        adhoc = self.client.summon(aioxmpp.AdHocClient)
        session = await adhoc.execute(aioxmpp.JID.fromstr(to), node)
        asked = []
        if session.status is aioxmpp.adhoc.CommandStatus.EXECUTING:
            form = session.first_payload
            asked = sorted(field.var for field in form.fields if field.var)
            for field in form.fields:
                if field.var in values:
                    field.values[:] = [values[field.var]]
            form.type_ = aioxmpp.forms.DataType.SUBMIT
            await session.proceed(action=aioxmpp.adhoc.ActionType.COMPLETE, payload=[form])
        notes = [note.body for note in session.response.notes]
        return {"fields": asked, "notes": notes, "status": session.status.value}

    async def quit(self) -> None:
        if self.client is not None and self.client.running:
            stopped = asyncio.Event()
            self.client.on_stopped.connect(stopped.set)
            self.client.on_failure.connect(lambda _reason: stopped.set())
            self.client.stop()
            await stopped.wait()

    async def carry_out(self, command: dict[str, Any]) -> None:
        name = command.pop("do")
        try:
            if name in PRESENCE_TYPES:
                result = await self.change_subscription(name, **command)
            else:
                result = await getattr(self, name)(**command)
        except Exception as error:  # noqa: BLE001  # whatever it is, the test is to read it
            tell("failed", do=name, reason=f"{type(error).__name__}: {error}")
        else:
            tell("done", do=name, **(result or {}))


async def main() -> None:
    """Carries out the commands of stdin until `quit` or its end."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    driven = Driven()
    while line := await lines.readline():
        command = json.loads(line)
        if command["do"] == "quit":
            break
        await driven.carry_out(command)
    await driven.carry_out({"do": "quit"})


if __name__ == "__main__":
    asyncio.run(main())
