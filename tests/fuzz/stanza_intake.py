"""A fuzz target: whatever bytes come in on the component's stream.

    python -m tests.fuzz.stanza_intake CORPUS-FOLDER -max_total_time=600

The relay is the real one with a real database, and the test is the other end of its stream
(`tests/integration/wire.py`, which parses what it writes as a server would). An input is a byte
that says how to read the rest, then the rest: as it is, or as the choices that make stanzas out of
a vocabulary, or questions about an author's nodes. Most of what is not XML is left out: it is the
parser's business, and costs a new stream. After each input:

- nothing has raised: `component.failures` and `intake.failures` are 0;
- what went out is whole stanzas, from an address of ours, to an address;
- nothing was answered to an error (RFC 6120 §8.3.1): no text, no error, no IQ;
- every question of such choices was answered, once;
- the stream is up, or was given up for what is not XML and came up again.
"""

import asyncio
import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import ParseError, fromstring
from xml.sax.saxutils import escape, quoteattr

import atheris

with atheris.instrument_imports(include=["xmpprelay"]):
    from tests.integration.clients import COMPONENT, DELAY, RECEIPTS, SID, STANZAS, Stanza
    from tests.integration.wire import HOME, RELAY, Wire, wired
    from xmpprelay import log

ALICE, BOB, EVE = "alice@example.test", "bob@far.test", "eve@strangers.test"

AUTHOR: Final = f"alice@{RELAY}"
QUESTION: Final = "q"  # the id of each question

KINDS: Final = {
    "message": ("chat", "", "error", "normal", "groupchat", "headline", "nonsense"),
    "presence": (
        "", "unavailable", "probe", "error", "subscribe", "subscribed", "unsubscribe",
        "unsubscribed", "nonsense",
    ),
    "iq": ("get", "set", "result", "error", ""),
    "other": ("", "get", "error"),
}  # fmt: skip
"""What comes, and of which types."""

FROM: Final = (
    ALICE,
    f"{ALICE}/x",
    BOB,
    f"{BOB}/x",
    EVE,
    f"{EVE}/x",
    "strangers.test",
    HOME,
    "",
    "@",
)
TO: Final = (HOME, RELAY, AUTHOR, f"nobody@{RELAY}/x", f"{HOME}/x", HOME.upper(), "else")
IDS: Final = ("", "a", "1.zzzzzz", "2.{epoch}", "1.{epoch}", "zzzzzzzzzzzzz.{epoch}")
TEXTS: Final = (
    "", "hello", "ping", "help", "help follow", "join carol", "follow alice", "unfollow @alice",
    "mode all home", "catchup 3", "more", "skip", ":x", "\\ping", "~x", "d bob x", "last night",
    "alice: hello  #1", "pong", "/me waves", "?OTRv23?", "[auto-reply] x", "follow bob@far.test",
    "join \u0430dmin", "2026-11-22T20:00:00Z", "9999-12-31T23:59:59-14:00", "-128", "1e9",
)  # fmt: skip
TAGS: Final = (
    ("body", COMPONENT), ("subject", COMPONENT), ("error", COMPONENT), ("priority", COMPONENT),
    ("show", COMPONENT), ("item-not-found", STANZAS), ("remote-server-timeout", STANZAS),
    ("text", STANZAS), ("origin-id", SID), ("request", RECEIPTS), ("received", RECEIPTS),
    ("delay", DELAY), ("query", "http://jabber.org/protocol/disco#info"),
    ("query", "jabber:iq:register"), ("username", "jabber:iq:register"),
    ("remove", "jabber:iq:register"), ("query", "jabber:iq:version"), ("vCard", "vcard-temp"),
    ("ping", "urn:xmpp:ping"), ("encrypted", "eu.siacs.conversations.axolotl"),
    ("replace", "urn:xmpp:message-correct:0"), ("forwarded", "urn:xmpp:forward:0"),
    ("sent", "urn:xmpp:carbons:2"), ("x", "unknown"),
)  # fmt: skip
ATTRIBUTES: Final = ("id", "type", "from", "to", "stamp", "node", "by", "xml:lang", "code")

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
RSM: Final = "http://jabber.org/protocol/rsm"
DATA: Final = "jabber:x:data"
ATOM: Final = "http://www.w3.org/2005/Atom"
USES: Final = (
    *(("set", PUBSUB, name) for name in ("publish", "retract", "subscribe", "unsubscribe")),
    *(("get", PUBSUB, name) for name in ("items", "subscriptions", "affiliations", "default")),
    *((kind, PUBSUB, "options") for kind in ("get", "set")),
    *(
        (kind, f"{PUBSUB}#owner", name)
        for kind in ("get", "set")
        for name in ("configure", "affiliations", "subscriptions", "default")
    ),
    *(("set", f"{PUBSUB}#owner", name) for name in ("purge", "delete")),
    ("set", PUBSUB, "create"),
    ("set", PUBSUB, "nonsense"),
)
NODES: Final = (
    "urn:xmpp:microblog:0", "urn:xmpp:microblog:0:comments/1.{epoch}", "", "blog",
    "urn:xmpp:microblog:0:comments/", "urn:xmpp:avatar:metadata", "urn:xmpp:avatar:data",
    "http://jabber.org/protocol/nick", "urn:xmpp:vcard4",
)  # fmt: skip
FIELDS: Final = (
    ("FORM_TYPE", f"{PUBSUB}#node_config"), ("FORM_TYPE", f"{PUBSUB}#subscribe_options"),
    ("pubsub#access_model", "authorize"), ("pubsub#include_body", "1"), ("pubsub#deliver", "0"),
    ("pubsub#max_items", "1e9"), ("pubsub#nonsense", "x"),
)  # fmt: skip
STATES: Final = ("outcast", "member", "none", "owner", "subscribed", "pending", "nonsense")

SEEDS: Final = (
    f"<message from='{ALICE}' to='{HOME}' type='chat' id='a'><body>hello</body></message>",
    f"<message from='{EVE}' to='{HOME}'><body>join eve</body></message>",
    f"<message from='{BOB}/x' to='{HOME}' type='error' id='1.{{epoch}}'><body>hello</body><error>"
    f"<item-not-found xmlns='{STANZAS}'/></error></message>",
    f"<presence from='{BOB}/x' to='{HOME}'><priority>1</priority><delay xmlns='{DELAY}' "
    "stamp='2026-11-22T20:00:00Z'/></presence>",
    f"<presence from='{EVE}' to='{AUTHOR}' type='subscribe'/>",
    f"<presence from='{BOB}' to='{AUTHOR}' type='probe'/>",
    f"<iq from='{EVE}' to='{RELAY}' type='get' id='{QUESTION}'>"
    "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    f"<iq from='{EVE}' to='{RELAY}' type='set' id='{QUESTION}'><query xmlns='jabber:iq:register'>"
    "<username>eve</username></query></iq>",
    f"<message from='{ALICE}' to='{HOME}' id='b'><body>x</body><request xmlns='{RECEIPTS}'/>"
    f"<origin-id xmlns='{SID}' id='b'/></message>",
    f"<iq from='{ALICE}' to='{AUTHOR}' type='set' id='{QUESTION}'><pubsub xmlns='{PUBSUB}'>"
    f"<publish node='{NODES[0]}'><item id='one'><entry xmlns='{ATOM}'><title>hello</title></entry>"
    "</item></publish></pubsub></iq>",
    f"<iq from='{BOB}' to='{AUTHOR}' type='get' id='{QUESTION}'><pubsub xmlns='{PUBSUB}'>"
    f"<items node='{NODES[0]}'/><set xmlns='{RSM}'><max>5</max><before/></set></pubsub></iq>",
    f"<iq from='{EVE}' to='{AUTHOR}' type='set' id='{QUESTION}'><pubsub xmlns='{PUBSUB}'>"
    f"<subscribe node='{NODES[0]}' jid='{EVE}'/></pubsub></iq>",
    "<message",
    "</stream:stream>",
    "<!DOCTYPE x [<!ENTITY e 'x'>]><message/>",
)
"""Where the fuzzer begins."""

MAX_OUT: Final = 500
"""Stanzas that one input may bring forth; far above what it can, which is some ten kilobytes."""


# --- an input ------------------------------------------------------------------------------------


class Choices:
    """Bytes read as choices; when they are used up, every choice is the first."""

    def __init__(self, data: bytes) -> None:
        self._given = atheris.FuzzedDataProvider(data)

    def one_of(self, things: Sequence[Any]) -> Any:
        return things[self._given.ConsumeIntInRange(0, len(things) - 1)]

    def up_to(self, most: int) -> int:
        return int(self._given.ConsumeIntInRange(0, most))

    def text(self, known: Sequence[str]) -> str:
        """One of the known texts, or any that XML allows."""
        if self.up_to(3):
            return str(self.one_of(known))
        raw = self._given.ConsumeUnicodeNoSurrogates(self.up_to(80))
        return "".join(c for c in raw if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff"))

    @property
    def left(self) -> int:
        return int(self._given.remaining_bytes())


def element(choices: Choices, depth: int) -> str:
    name, namespace = choices.one_of(TAGS)
    attributes = "".join(
        f" {key}={quoteattr(choices.text(IDS + TEXTS))}"
        for key in {choices.one_of(ATTRIBUTES) for _ in range(choices.up_to(2))}
    )
    inside = escape(choices.text(TEXTS))
    if depth and choices.left:
        inside += "".join(element(choices, depth - 1) for _ in range(choices.up_to(3)))
    return f"<{name} xmlns='{namespace}'{attributes}>{inside}</{name}>"


def question(choices: Choices) -> str:
    """A question about nodes, more or less as it should be (XEP-0060)."""
    kind, space, name = choices.one_of(USES)
    attributes = {"node": choices.one_of(NODES), "jid": choices.one_of((BOB, *FROM))}
    if not choices.up_to(2):
        attributes["max_items"] = choices.one_of(("1", "0", "999999999", "-1", "\u0663", "x"))
    if not choices.up_to(9):
        attributes["node"] = choices.text(NODES)
    written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items() if value)
    needed = [_item] if name in ("publish", "retract") else []
    parts = (_item, _form, _state, lambda inner: element(inner, 2))
    more = [choices.one_of(parts) for _ in range(choices.up_to(2))]
    inside = "".join(part(choices) for part in (*needed, *more))
    beside = _page(choices) if choices.up_to(1) else ""
    if not choices.up_to(5):
        options = choices.one_of(("publish-options", "options"))
        beside += f"<{options}>{_form(choices)}</{options}>"
    return (
        f"<iq type='{kind}' id='{QUESTION}' from='{choices.one_of((ALICE, BOB, EVE))}'"
        f" to='{AUTHOR}'><pubsub xmlns='{space}'><{name}{written}>{inside}</{name}>"
        f"{beside}</pubsub></iq>"
    )


def _page(choices: Choices) -> str:
    name, value = choices.one_of(("max", "after", "before", "index")), choices.one_of(IDS)
    number = choices.one_of(("5", "0", "1000000", value))
    return f"<set xmlns='{RSM}'><max>{number}</max><{name}>{escape(value)}</{name}></set>"


def _item(choices: Choices) -> str:
    entry = f"<title>{escape(choices.one_of(('tea', *TEXTS)))}</title>"
    if not choices.up_to(2):
        entry += f"<category term={quoteattr(choices.text(TEXTS))}/>"
    if not choices.up_to(3):
        entry = element(choices, 1)
    name = quoteattr(choices.one_of(("one", "two", *IDS, "x" * 300)))
    return f"<item id={name}><entry xmlns='{ATOM}'>{entry}</entry></item>"


def _form(choices: Choices) -> str:
    kind = choices.one_of(("submit", "submit", "cancel", "form", ""))
    fields = (choices.one_of(FIELDS) for _ in range(choices.up_to(4)))
    inside = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in fields)
    return f"<x xmlns='{DATA}' type='{kind}'>{inside}</x>"


def _state(choices: Choices) -> str:
    name, jid = choices.one_of(("affiliation", "subscription")), quoteattr(choices.text(FROM))
    return f"<{name} jid={jid} {name}='{choices.one_of(STATES)}'/>"


def stanza(choices: Choices) -> str:
    kind = choices.one_of(tuple(KINDS))
    attributes = {
        "from": choices.text(FROM),
        "to": choices.text(TO),
        "type": choices.text(KINDS[kind]),
        "id": choices.text(IDS),
    }
    written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items() if value)
    inside = "".join(element(choices, 2) for _ in range(choices.up_to(4)))
    if choices.up_to(50) == 50:
        inside += "<d>" * 600 + "</d>" * 600
    return f"<{kind}{written}>{inside}</{kind}>"


def xml_of(data: bytes) -> bytes:
    """What an input stands for on the wire."""
    if not data:
        return b""
    if data[0] & 1:
        return data[1:]
    choices = Choices(data[1:])
    make = question if data[0] & 2 else stanza
    return "".join(make(choices) for _ in range(1 + choices.up_to(5))).encode()


# --- what must be so -----------------------------------------------------------------------------


class Broken(AssertionError):
    """What the fuzzer looks for."""


class Bench:
    """The relay, and what is checked after each input."""

    def __init__(self, wire: Wire, runner: asyncio.Runner) -> None:
        self._wire = wire
        self._runner = runner
        self._epoch = wire.service.db.epoch.encode()

    def takes(self, data: bytes) -> None:
        xml = xml_of(data).replace(b"{epoch}", self._epoch)
        came = _elements(xml)
        if not xml or (came is None and data[0] & 14):
            return
        self._runner.run(self._feed(xml, ends=came is None))
        self._check(came or [], questions=data[0] & 3 == 2)

    async def _feed(self, xml: bytes, *, ends: bool) -> None:
        wire = self._wire
        wire.feeds(xml)
        if ends:  # it ends the stream, or would at its end
            wire.abort()
            await wire.lost()
            await wire.service.intake.drained()
            wire.reopens()
            await wire.comes_up()
        await wire.quiet()

    def _check(self, came: list[Stanza], *, questions: bool) -> None:
        service = self._wire.service
        sent = self._wire.taken()
        if service.component.failures or service.intake.failures:
            raise Broken("something unforeseen was raised")
        if not service.component.up:
            raise Broken("the stream is down")
        if len(sent) > MAX_OUT:
            raise Broken(f"{len(sent)} stanzas went out")
        for each in sent:
            if each.sender.partition("/")[0].rpartition("@")[2] != RELAY or not each.to:
                raise Broken(f"a stanza of nobody's: {each}")
        if questions:
            answers = [each for each in sent if each.kind == "iq" and each.id == QUESTION]
            if sorted(each.to for each in answers) != sorted(each.sender for each in came):
                raise Broken(f"{len(came)} questions, and these answers: {answers}")
        if came and all(each.type == "error" for each in came):
            answers = [each for each in sent if each.type != "probe" and each.post_id is None]
            if answers:
                raise Broken(f"an error was answered: {answers}")


def _elements(xml: bytes) -> "list[Stanza] | None":
    """The stanzas in it; None: it is not XML, or ends the stream."""
    begin = f"<s xmlns='{COMPONENT}' xmlns:stream='http://etherx.jabber.org/streams'>".encode()
    try:
        return [Stanza(each) for each in fromstring(begin + xml + b"</s>")]
    except (ParseError, ValueError):
        return None


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """A relay with alice, whom bob of far.test follows, and an event loop to run it in."""
    memory = Path("/dev/shm")  # its database is synced all the time
    with (
        asyncio.Runner() as runner,
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
    ):
        ending = contextlib.AsyncExitStack()
        wire = runner.run(ending.enter_async_context(wired(Path(folder))))

        async def people() -> None:
            wire.says(ALICE, "join alice")
            await wire.quiet()
            wire.says(BOB, "follow alice")
            await wire.quiet()
            wire.taken()

        runner.run(people())
        yield Bench(wire, runner)
        runner.run(ending.aclose())


def write_seeds(folder: Path) -> None:
    """The inputs that the fuzzer begins with."""
    for number, seed in enumerate(SEEDS):
        (folder / f"raw-{number}").write_bytes(b"\x01" + seed.encode())
    for number in range(8):
        for kind, name in enumerate(("choices", "questions")):
            chosen = bytes([2 * kind, *range(number, 240, number + 1)])
            (folder / f"{name}-{number}").write_bytes(chosen)


def main() -> None:
    """Fuzz as the arguments say (libFuzzer's); ends the process. An empty corpus gets seeds."""
    for folder in (Path(each) for each in sys.argv[1:] if not each.startswith("-")):
        if folder.is_dir() and not any(folder.iterdir()):
            write_seeds(folder)
    log.configure("critical")
    logging.disable()
    with bench() as relay:
        atheris.Setup(sys.argv, relay.takes)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
