"""`report`: a post is shown to the operator, and nobody else hears of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.clients import Stanza
from tests.integration.wire import RELAY, Wire, wired
from xmpprelay.config import Secret, Xmpp
from xmpprelay.reporting import PER_HOUR
from xmpprelay.store.keeping_out import list_audit

ALICE, BOB, ROOT = "alice@example.test", "bob@example.test", "root@example.test"


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    xmpp = Xmpp(domain=RELAY, secret=Secret("secret"), admins=(ROOT,))
    async with wired(tmp_path, xmpp=xmpp) as wire:
        await says(wire, ALICE, "join alice")
        await says(wire, BOB, "follow alice")
        await says(wire, ALICE, "something\nnasty")
        yield wire


async def says(wire: Wire, who: str, text: str) -> list[Stanza]:
    wire.says(who, text)
    await wire.quiet()
    return [each for each in wire.taken() if each.kind == "message"]


async def noted(wire: Wire) -> list[tuple[str, str, str]]:
    found = await wire.service.db.read(lambda conn: list_audit(conn, 50))
    return [(each.who, each.action, each.subject) for each in found]


@pytest.mark.parametrize(("reason", "ending"), [("", ""), (" it is\nnasty", " | it is nasty")])
async def test_a_report_reaches_the_audit_and_the_admins_and_nobody_else(
    wire: Wire, reason: str, ending: str
) -> None:
    sent = await says(wire, BOB, f"report #1{reason}")
    subject = f"#1 of {ALICE}: something nasty{ending}"
    assert {each.to: each.body for each in sent} == {
        ROOT: f"{BOB} reports {subject}",
        BOB: "#1 is reported; its author is not told.",
    }
    assert await noted(wire) == [(BOB, "report", subject)]


@pytest.mark.parametrize(
    ("who", "line", "condition"),
    [
        (BOB, "report #9", "item-not-found"),
        (ALICE, "report #1 me", "not-allowed"),
        ("eve@example.test", "report #1", "registration-required"),
    ],
)
async def test_what_cannot_be_reported(wire: Wire, who: str, line: str, condition: str) -> None:
    [refused] = await says(wire, who, line)
    assert (refused.to, refused.condition) == (who, condition)
    assert await noted(wire) == []


async def test_of_somebody_who_is_cut_off_there_is_nothing_to_report(wire: Wire) -> None:
    await says(wire, ALICE, f"block {BOB}")
    [refused] = await says(wire, BOB, "report #1")
    [unknown] = await says(wire, BOB, "report #9")
    assert refused.condition == unknown.condition == "item-not-found"


async def test_reports_have_a_rate(wire: Wire) -> None:
    for _ in range(PER_HOUR):
        await says(wire, BOB, "report #1")
    [refused] = await says(wire, BOB, "report #1")
    assert refused.condition == "policy-violation"
    assert len(await noted(wire)) == PER_HOUR
