"""Linking over XMPP: the code reaches the relay by chat, and nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.wire import HOME, Wire, wired
from tests.integration.world import Clock
from tests.primaries.oauth import Instance
from xmpprelay.config import Primary, host_of
from xmpprelay.core.primary import Account
from xmpprelay.inserting import BARRED_AGAIN_MINUTES, Inserting
from xmpprelay.linking import Linking
from xmpprelay.primary.mastodon.servers import VERIFY

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


# --- links that do not work any more --------------------------------------------------------------


async def starts(folder: Path, site: str, *, link: Instance | None = None, who: str = ALICE) -> str:
    """The relay runs with this instance: what it says by itself, before somebody may link."""
    primary = Primary(driver="mastodon", instances=(site,))
    async with wired(folder, primary=primary) as wire:
        wire.service.inserting.start()
        said = await answered(wire, who, "queue")
        if link is not None:
            assert wire.service.inserting.linking is not None
            begun = await wire.service.inserting.linking.begin(who, host_of(site))
            code = link.lets_in(who.partition("@")[0], begun.address)
            assert "You are linked as" in await answered(wire, who, f"link {code}")
            await wire.quiet()
        return "\n".join(line for line in said.splitlines() if "This relay" in line)


@pytest.fixture
async def linked(tmp_path: Path, instance: Instance) -> Path:
    """Alice has linked an account, and the relay has stopped."""
    primary = Primary(driver="mastodon", instances=(instance.site,))
    async with wired(tmp_path, primary=primary) as wire:
        await answered(wire, ALICE, "join alice")
        await answered(wire, BOB, "join bob")
    assert await starts(tmp_path, instance.site, link=instance) == ""
    return tmp_path


async def test_with_a_lost_key_each_whose_link_it_breaks_is_told_once(
    linked: Path, instance: Instance
) -> None:
    assert await starts(linked, instance.site) == ""
    (linked / "key").unlink()
    told = await starts(linked, instance.site)
    assert told.startswith("This relay cannot read its login at 127.0.0.1 any more")
    assert "`link 127.0.0.1` makes it anew" in told
    assert await starts(linked, instance.site) == "", "not again after a restart"
    assert await starts(linked, instance.site, link=instance) == ""
    (linked / "key").unlink()
    assert await starts(linked, instance.site), "it was mended, so it is news again"
    assert await starts(linked, instance.site, who=BOB) == ""


async def test_with_the_key_back_all_is_as_it_was(linked: Path, instance: Instance) -> None:
    key = (linked / "key").read_text()
    for _ in range(2):
        (linked / "key").unlink()
        assert await starts(linked, instance.site)
        new = (linked / "key").read_text()
        (linked / "key").write_text(f"{new}{key}")
        assert await starts(linked, instance.site) == ""
        key = (linked / "key").read_text()


async def test_whose_instance_is_taken_out_is_told_once_and_his_posts_wait(
    linked: Path, instance: Instance
) -> None:
    other = "https://other.example"
    assert (await starts(linked, other)).startswith(
        "This relay does not serve 127.0.0.1 any more, so your posts wait before they go to an "
        "account of yours: `link other.example` links one there instead"
    )
    primary = Primary(driver="mastodon", instances=(other,))
    for _ in range(2):
        async with wired(linked, primary=primary) as wire:
            assert "ok #" in await answered(wire, ALICE, "later, then")
            answer = await answered(wire, ALICE, "link")
            assert "The operator has taken 127.0.0.1 out, so your posts wait." in answer
    async with wired(linked, primary=primary) as wire:
        assert "2 of yours are not inserted" in await answered(wire, ALICE, "pending")
    assert await starts(linked, other) == ""
    assert await starts(linked, instance.site) == ""
    assert await starts(linked, other), "it was back, so it is news again"


async def test_what_has_waited_too_long_for_an_instance_taken_out_is_parked_and_told(
    linked: Path,
) -> None:
    primary, clock = Primary(driver="mastodon", instances=("https://other.example",)), Clock()
    async with wired(linked, clock, primary=primary) as wire:
        name = (await answered(wire, ALICE, "later, then")).split()[1].rstrip(":")
        clock.passes(days=8)
        for _ in range(BARRED_AGAIN_MINUTES):
            wire.service.inserting.tick()
        async with asyncio.timeout(30):
            while not (told := wire.taken()):  # noqa: ASYNC110 - nobody tells when it is done
                await asyncio.sleep(0)
        assert [(each.to, each.body) for each in told] == [
            (
                ALICE,
                f"{name} has waited for too long, and is not inserted. `resend {name}` tries "
                f"again, `drop {name}` ends it.",
            )
        ]


@asynccontextmanager
async def refused(folder: Path, site: str) -> AsyncIterator[tuple[Inserting, Linking, Account]]:
    """The relay runs, the instance is up, and alice's login has just been refused."""
    primary = Primary(driver="mastodon", instances=(site,))
    async with wired(folder, primary=primary) as wire:
        inserting, linking = wire.service.inserting, wire.service.inserting.linking
        alice = wire.service.graph.by_jid(ALICE)
        assert linking is not None
        assert alice is not None
        await inserting.standby.probe_now(site)
        account = linking.account(alice.id)
        assert account is not None
        await linking.refused(account)
        assert linking.account(alice.id) is None
        await wire.quiet()
        yield inserting, linking, account


async def hour(inserting: Inserting) -> None:
    """An hour passes, and what is to be done then is done."""
    for _ in range(BARRED_AGAIN_MINUTES):
        inserting.tick()
    await inserting.idle()


async def test_a_login_that_was_refused_is_tried_each_hour_and_may_hold_again(
    linked: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmpprelay.inserting.TRIES_EVERY_S", 0.0)
    async with refused(linked, instance.site) as (inserting, linking, account):
        tokens = dict(instance.tokens)
        instance.tokens.clear()
        asked = instance.asked.count(VERIFY)
        await hour(inserting)
        assert instance.asked.count(VERIFY) == asked + 1
        assert linking.account(account.id) is None
        instance.tokens.update(tokens)
        await hour(inserting)
        assert linking.account(account.id) == account
        asked = instance.asked.count(VERIFY)
        await hour(inserting)
        assert instance.asked.count(VERIFY) == asked, "what holds is not asked about"


async def test_a_fault_in_the_background_is_counted_and_does_not_end_the_stop(
    linked: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("a bug")

    async with refused(linked, instance.site) as (inserting, _linking, _account):
        monkeypatch.setattr(inserting.places[instance.site].driver, "probe", fails)
        await hour(inserting)
        assert inserting.failures == 1
