"""Linking over XMPP: the code reaches the relay by chat, and nobody else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.wire import HOME, Wire, wired
from tests.primaries.oauth import Instance
from xmpprelay.config import Primary

ALICE, BOB = "alice@example.test", "bob@example.test"


@pytest.fixture
async def instance() -> AsyncIterator[Instance]:
    async with Instance() as instance:
        yield instance


@pytest.fixture
async def wire(tmp_path: Path, instance: Instance) -> AsyncIterator[Wire]:
    """Alice posts; bob follows her, and is there."""
    primary = Primary(driver="mastodon", instances=(instance.site,))
    async with wired(tmp_path, primary=primary) as wire:
        await answered(wire, ALICE, "join alice")
        await answered(wire, BOB, "follow alice")
        for xml in (
            f"<presence from='{BOB}' to='{HOME}' type='subscribed'/>",
            f"<presence from='{BOB}/x' to='{HOME}'/>",
        ):
            wire.feeds(xml)
        await wire.quiet()
        wire.taken()
        yield wire


async def answered(wire: Wire, who: str, text: str) -> str:
    """What the relay answers, with whatever it has to ask an instance for before."""
    wire.says(who, text)
    await wire.quiet()
    return "\n".join(each.body for each in wire.taken() if each.to == who and each.body)


@pytest.mark.parametrize("before", ["link ", "", "~", "link\n", "it is "])
async def test_a_code_is_told_to_the_relay_alone(
    wire: Wire, instance: Instance, before: str
) -> None:
    begun = await answered(wire, ALICE, "link")
    [address] = [word for word in begun.split() if word.startswith("http")]
    code = instance.lets_in("alice", address)
    wire.says(ALICE, f"{before}{code}")
    await wire.quiet()
    assert {each.to for each in wire.taken() if each.kind == "message"} == {ALICE}
    linked = (
        wire.service.inserting.linking is not None
        and wire.service.inserting.linking.link_of(ALICE) is not None
    )
    assert linked is (before in ("link ", "", "~"))
    wire.says(ALICE, "now something for bob")
    await wire.quiet()
    assert BOB in {each.to for each in wire.taken() if "for bob" in (each.body or "")}


async def test_who_leaves_has_his_login_ended(wire: Wire, instance: Instance) -> None:
    begun = await answered(wire, ALICE, "link")
    [address] = [word for word in begun.split() if word.startswith("http")]
    assert "You are linked as" in await answered(
        wire, ALICE, f"link {instance.lets_in('alice', address)}"
    )
    assert instance.tokens
    await answered(wire, ALICE, "leave-relay yes")
    assert wire.service.inserting.linking is not None
    await wire.service.inserting.linking.settled()
    assert not instance.tokens
