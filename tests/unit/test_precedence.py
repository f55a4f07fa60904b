"""Who goes first in a flood: first the rule, then what the stream does with it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.xmpp import component as stream
from xmpprelay.xmpp import outbox, precedence
from xmpprelay.xmpp.component import PROBING, Component
from xmpprelay.xmpp.precedence import AT_ONCE, Precedence

KNOWN = ("alice@example.test", "bob@example.test")
STRANGERS = ("mallory@far.test", "eve@far.test", "trudy@away.test")


def is_stranger(jid: str) -> bool:
    return jid not in KNOWN


# --- the rule ------------------------------------------------------------------------------------


def sort(senders: Sequence[str]) -> tuple[list[int], list[int]]:
    """Which of one burst go first, and which wait."""
    order = Precedence(is_stranger)
    first, behind = [], []
    for number, sender in enumerate(senders):
        if order.goes_first(sender):
            first.append(number)
        else:
            order.put(sender, Element("x", n=f"{number}"), 1)
    while order:
        behind.append(int(order.take().get("n", "")))
    return first, behind


def test_strangers_of_a_domain_are_one_source_and_known_people_one_each() -> None:
    first, behind = sort([*(f"u{n}@far.test" for n in range(60)), *KNOWN, "u@away.test"])
    assert behind == list(range(AT_ONCE, 60))
    assert first[-3:] == [60, 61, 62]


def test_somebody_known_who_floods_waits_and_nobody_else() -> None:
    first, behind = sort([KNOWN[0]] * 60 + [KNOWN[1], STRANGERS[0]])
    assert behind == list(range(AT_ONCE, 60))
    assert first[-2:] == [60, 61]


def test_the_comings_of_all_who_are_known_are_one_source_and_what_they_write_is_not() -> None:
    order = Precedence(lambda jid: jid.endswith("@far.test"))
    comes = [order.goes_first(f"f{n}@example.test", comes=True) for n in range(AT_ONCE + 10)]
    assert comes == [True] * AT_ONCE + [False] * 10
    assert order.goes_first("alice@example.test"), "a post"
    strangers = [order.goes_first(f"u{n}@far.test", comes=True) for n in range(AT_ONCE + 1)]
    assert strangers == [True] * AT_ONCE + [False], "of their domain, as in anything"


@given(st.lists(st.sampled_from(KNOWN + STRANGERS), max_size=400))
def test_nothing_is_lost_and_each_senders_stanzas_keep_their_order(senders: list[str]) -> None:
    first, behind = sort(senders)
    assert sorted(first + behind) == list(range(len(senders)))
    for sender in set(senders):
        assert [n for n in first + behind if senders[n] == sender] == [
            n for n in range(len(senders)) if senders[n] == sender
        ]


def test_who_became_known_in_a_burst_does_not_overtake_himself() -> None:
    known: set[str] = set()
    order = Precedence(lambda jid: jid not in known)
    for n in range(AT_ONCE):
        assert order.goes_first(f"u{n}@far.test")
    assert not order.goes_first("carol@far.test")
    order.put("carol@far.test", Element("join"), 1)
    known.add("carol@far.test")
    assert not order.goes_first("carol@far.test"), "her `join` waits still"
    order.take()
    assert order.goes_first("carol@far.test")


def test_it_is_full_by_number_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "MAX_WAITING", 4)
    order = Precedence(is_stranger)
    for n in range(4):
        assert not order.full, n
        order.put("u@far.test", Element("x"), 1)
    assert order.full
    order.take()
    assert (order.full, order.has_room) == (False, False), "reading goes on at the half"
    order.take()
    assert order.has_room
    order.put("u@far.test", Element("x"), precedence.MAX_WAITING_BYTES)
    assert order.full
    for _ in range(3):
        order.take()
    assert order.has_room


# --- the stream ----------------------------------------------------------------------------------


class Wire:
    """A transport that notes what is written, and whether reading is paused."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, **_: Any) -> None: ...

    def get_extra_info(self, *_: Any, **__: Any) -> None: ...

    def is_closing(self) -> bool:
        return False


class Fed:
    """A component that is up; `took` is whose messages were dealt with, in that order."""

    def __init__(self, deal: Callable[["Fed", Element], None] | None = None) -> None:
        self.took: list[str] = []
        self.wire = Wire()
        self.component = Component("relay.test", "s", "127.0.0.1", 1, "example.test")
        self.component.loop = asyncio.get_running_loop()
        self.component.precedence.is_stranger = is_stranger
        self.component.take_message = self._took
        self.component.take_presence = self._took
        self.component.connection_made(self.wire)
        self.component.data_received(
            b"<stream:stream xmlns='jabber:component:accept' id='1' "
            b"xmlns:stream='http://etherx.jabber.org/streams'><handshake/>"
        )
        self.wire.written.clear()
        self._deal = deal

    def _took(self, stanza: Element) -> None:
        self.took.append(stanza.get("from", ""))
        if self._deal is not None:
            self._deal(self, stanza)

    def reads(self, *senders: str) -> None:
        self.component.data_received(
            "".join(f"<presence from='{each}' to='home@relay.test'/>" for each in senders).encode()
        )

    async def idle(self) -> None:
        async with asyncio.timeout(10.0):
            while self.component.precedence:  # noqa: ASYNC110 - of the turns that it takes
                await asyncio.sleep(0)


FLOOD = [f"u{n}@far.test" for n in range(300)]


async def test_an_author_behind_a_flood_is_dealt_with_before_it() -> None:
    fed = Fed()
    fed.reads(*FLOOD[:200])
    fed.reads(*FLOOD[200:], KNOWN[0])
    assert fed.took == [*FLOOD[:AT_ONCE], KNOWN[0]]
    await fed.idle()
    assert fed.took == [*FLOOD[:AT_ONCE], KNOWN[0], *FLOOD[AT_ONCE:]]


CROWD = [f"f{n}@example.test" for n in range(AT_ONCE + 100)]


async def test_a_post_behind_logins_is_dealt_with_before_them() -> None:
    fed = Fed()
    fed.component.precedence.is_stranger = lambda _: False
    fed.reads(*CROWD)
    fed.component.data_received(
        f"<message from='{KNOWN[0]}' to='home@relay.test'/>"
        f"<presence from='{CROWD[-1]}' to='home@relay.test/barrier-1'/>"
        f"<presence from='{KNOWN[1]}' to='home@relay.test/barrier-2'/>"
        f"<presence from='{KNOWN[1]}' to='home@relay.test/{PROBING}'/>".encode()
    )
    assert fed.took == [*CROWD[:AT_ONCE], KNOWN[0], KNOWN[1]]
    await fed.idle()
    assert fed.took[AT_ONCE + 2 :] == [*CROWD[AT_ONCE:], CROWD[-1], KNOWN[1]]


def test_what_is_asked_for_everybodys_presence_is_no_barrier() -> None:
    assert PROBING == outbox.NO_BARRIER


async def test_after_a_flood_the_same_people_go_first_again() -> None:
    fed = Fed()
    fed.reads(*FLOOD)
    await fed.idle()
    fed.took.clear()
    fed.reads(*FLOOD[:AT_ONCE])
    assert fed.took == FLOOD[:AT_ONCE]


async def test_a_lost_stream_loses_nothing_that_had_come_by_it() -> None:
    fed, up = Fed(), []
    fed.component.went_down = lambda: up.append(len(fed.took))
    fed.reads(*FLOOD)
    fed.component.connection_lost(None)
    assert fed.took == FLOOD
    assert up == [len(FLOOD)], "before anybody hears that the stream is gone"
    await asyncio.sleep(0)
    assert fed.took == FLOOD


async def test_reading_stops_when_too_much_waits_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precedence, "MAX_WAITING", 100)
    monkeypatch.setattr(stream, "TURN_S", 0.0001)
    fed = Fed()
    fed.reads(*FLOOD[: AT_ONCE + 99])
    assert fed.wire.reading
    fed.reads(FLOOD[AT_ONCE + 99])
    assert not fed.wire.reading
    while not fed.wire.reading:
        assert len(fed.component.precedence) > 0
        await asyncio.sleep(0)
    assert len(fed.component.precedence) <= 50


async def test_much_that_was_read_in_peace_does_not_count() -> None:
    fed = Fed()
    fed.component.take_message = lambda _: None
    text = "x" * precedence.MAX_WAITING_BYTES
    message = f"<message from='{KNOWN[0]}' to='home@relay.test'><body>{text}</body></message>"
    fed.component.data_received(message.encode())
    fed.reads(*FLOOD)
    assert fed.wire.reading


async def test_the_answers_to_what_was_read_at_once_go_out_together_in_order() -> None:
    def answer(fed: Fed, stanza: Element) -> None:
        fed.component.write(stanza.get("from", "").encode() + b";")

    fed = Fed(answer)
    fed.reads(*FLOOD[:3])
    assert fed.wire.written == [";".join([*FLOOD[:3], ""]).encode()]
    fed.component.write(b"later")
    assert fed.wire.written[1:] == [b"later"]
