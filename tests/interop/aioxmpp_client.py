"""An XMPP client made with aioxmpp, driven over stdin and stdout by lines of JSON.

It is run as a process by the Python of `.venv-aioxmpp`, and so shares nothing with the relay or the
tests, not even an interpreter. It must not import anything of the project.

Each line on stdin is one command, `{"do": NAME, …}`:

    login      jid, password, host, port; optional: resource
    presence   optional: show (away, chat, dnd, xa), status, priority
    offline    stays connected, and sends `unavailable`
    subscribe, unsubscribe, subscribed, unsubscribed     to
    send_chat  to, body; optional: id
    command    to, node, and the fields of its form by their names
    avatar     to: what he shows as a picture, and where it was found
    pubsub_subscribe, pubsub_unsubscribe, pubsub_subscriptions     to, node
    pubsub_items     to, node; optional: most
    pubsub_publish   to, node, text; optional: id, language, answers (a URI)
    pubsub_retract   to, node, id
    quit       logs out; the end of stdin does the same

Each line on stdout is one event: `{"event": "done", "do": NAME, …}` when a command has been carried
out, `{"event": "failed", "do": NAME, "reason": …}` when it has not. With what is done may come the
`id` of the message or of the item, the full `jid` after a login, the `state` of a subscription or
the `states` of some, and `items`, each as told below. And whatever arrives, as it arrives:

    {"event": "message", "from", "to", "type", "id", "body", "delay"}
    {"event": "presence", "from", "to", "type", "id", "show", "status", "priority"}
    {"event": "item", "from", "node", "id", "publisher", "text", "tags", "language", "body"}
    {"event": "retracted", "from", "node", "id"}
    {"event": "subscription", "from", "node", "jid", "state"}

A presence without a type counts as "available". `body`, `show`, `status` and `delay` (a time in ISO
format) are null where the stanza has none; the `text` of an item is its content. Commands are
carried out one after the other. What the library logs goes to stderr.
"""

import asyncio
import json
import sys
from typing import Any

import aioxmpp
import aioxmpp.connector
import aioxmpp.misc  # gives messages their delay
import aioxmpp.pubsub.xso
import aioxmpp.service
from aioxmpp.xso import XSO, Attr, Child, ChildList, ChildText, LangAttr, UnknownAttrPolicy

ATOM = "http://www.w3.org/2005/Atom"
THREAD = "http://purl.org/syndication/thread/1.0"

PRESENCE_TYPES = {
    "subscribe": aioxmpp.PresenceType.SUBSCRIBE,
    "unsubscribe": aioxmpp.PresenceType.UNSUBSCRIBE,
    "subscribed": aioxmpp.PresenceType.SUBSCRIBED,
    "unsubscribed": aioxmpp.PresenceType.UNSUBSCRIBED,
}


# The library reads no event about a subscription without an expiry, which few subscriptions have.
vars(aioxmpp.pubsub.xso.EventSubscription)["expiry"].default = None


class Category(XSO):
    """A tag."""

    TAG = (ATOM, "category")
    term = Attr("term", default="")


class InReplyTo(XSO):
    """What an entry answers."""

    TAG = (THREAD, "in-reply-to")
    ref, href = Attr("ref", default=None), Attr("href", default=None)


@aioxmpp.pubsub.xso.as_payload_class
class Entry(XSO):
    """As much of an Atom entry as is published and told here; the rest is left aside."""

    TAG = (ATOM, "entry")
    lang = LangAttr(default=None)
    id_ = ChildText((ATOM, "id"), default=None)
    title = ChildText((ATOM, "title"), attr_policy=UnknownAttrPolicy.DROP, default=None)
    content = ChildText((ATOM, "content"), attr_policy=UnknownAttrPolicy.DROP, default=None)
    categories = ChildList([Category])
    answered = Child([InReplyTo])


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


def told(item: Any) -> dict[str, Any]:
    """What is told of an item."""
    entry = item.registered_payload
    found: dict[str, Any] = {"id": item.id_, "publisher": getattr(item, "publisher", None)}
    if entry is not None:
        found |= {
            "text": entry.content,
            "tags": [each.term for each in entry.categories],
            "language": str(entry.lang) if entry.lang else None,
        }
    return found


def tell_item(sender: Any, node: str, item: Any, *, message: Any) -> None:
    """Writes a notification of an item."""
    body = message.body.any() if message.body else None
    tell("item", **{"from": str(sender)}, node=node, **told(item), body=body)


def tell_retracted(sender: Any, node: str, item: str, **_: Any) -> None:
    """Writes a notification that an item is gone."""
    tell("retracted", **{"from": str(sender)}, node=node, id=item)


def tell_subscription(stanza: aioxmpp.Message) -> aioxmpp.Message:
    """Writes how a subscription has changed, which the library reads and does not tell."""
    event = stanza.xep0060_event
    changed = None if event is None else event.payload
    if isinstance(changed, aioxmpp.pubsub.xso.EventSubscription):
        sender, state = {"from": str(stanza.from_)}, changed.subscription
        tell("subscription", **sender, node=changed.node, jid=str(changed.jid), state=state)
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
        pubsub = self.client.summon(aioxmpp.PubSubClient)
        pubsub.on_item_published.connect(tell_item)
        pubsub.on_item_retracted.connect(tell_retracted)
        stream = self.client.stream
        stream.service_inbound_message_filter.register(tell_subscription, -1000)
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

    @property
    def _pubsub(self) -> Any:
        return self.client.summon(aioxmpp.PubSubClient)

    async def avatar(self, to: str) -> Any:
        avatars = self.client.summon(aioxmpp.AvatarService)
        whose = aioxmpp.JID.fromstr(to)
        shown = await avatars.get_avatar_metadata(whose, require_fresh=True)
        return {
            "pictures": [
                {
                    "id": each.id_,
                    "type": each.mime_type,
                    "width": each.width,
                    "bytes": len(await each.get_image_bytes()),
                    "by": type(each).__name__,
                }
                for each in shown
            ]
        }

    async def pubsub_subscribe(self, to: str, node: str) -> Any:
        done = await self._pubsub.subscribe(aioxmpp.JID.fromstr(to), node)
        return {"state": done.payload.subscription}

    async def pubsub_unsubscribe(self, to: str, node: str) -> None:
        await self._pubsub.unsubscribe(aioxmpp.JID.fromstr(to), node)

    async def pubsub_subscriptions(self, to: str, node: str) -> Any:
        found = await self._pubsub.get_subscriptions(aioxmpp.JID.fromstr(to), node)
        return {"states": [each.subscription for each in found.subscriptions]}

    async def pubsub_items(self, to: str, node: str, most: int | None = None) -> Any:
        address = aioxmpp.JID.fromstr(to)
        found = await self._pubsub.get_items(address, node, max_items=most)
        return {"items": [told(item) for item in found.payload.items]}

    async def pubsub_publish(self, to: str, node: str, text: str, **more: str) -> Any:
        entry = Entry()
        entry.title = entry.content = text
        if "language" in more:
            entry.lang = aioxmpp.structs.LanguageTag.fromstr(more["language"])
        if "answers" in more:
            entry.answered = InReplyTo()
            entry.answered.ref = entry.answered.href = more["answers"]
        address = aioxmpp.JID.fromstr(to)
        return {"id": await self._pubsub.publish(address, node, entry, id_=more.get("id"))}

    async def pubsub_retract(self, to: str, node: str, **item: str) -> None:
        await self._pubsub.retract(aioxmpp.JID.fromstr(to), node, item["id"], notify=True)

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
