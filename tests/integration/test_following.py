"""Following: two doors, one record; who is told; standings through a restart (S5, S1.2)."""

from tests.integration.clients import Stanza, count
from tests.integration.holding import held
from tests.integration.world import World
from xmpprelay.core.model import Draft
from xmpprelay.people import NOTICE_EVERY_S


def is_notice(stanza: Stanza) -> bool:
    return "follow" in (stanza.body or "") and stanza.post_id is None


# --- the two doors -------------------------------------------------------------------------------


async def test_the_contact_list_brings_author_mode_and_text_home_mode(world: World) -> None:
    [alice] = await world.authors("alice")
    bob, carol = await world.people("bob", "carol")
    await bob.adds("alice")
    assert await carol.says("follow alice") == ("You follow @alice now. `unfollow alice` ends it.")
    await alice.says("hello")
    assert (await bob.gets_post("hello")).sender == bob.author("alice")
    assert (await carol.gets_post("hello")).sender == carol.home
    assert await carol.says("follow alice") == "You follow @alice already."


async def test_both_doors_are_one_follow_and_the_contact_list_sets_the_mode(world: World) -> None:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.says("follow alice")
    await alice.says("from home")
    assert (await bob.gets_post("from home")).sender == bob.home
    await bob.adds("alice")
    await alice.says("from her")
    assert (await bob.gets_post("from her")).sender == bob.author("alice")
    assert await bob.says("follow alice") == "You follow @alice already."
    await alice.says("still from her")
    assert (await bob.gets_post("still from her")).sender == bob.author("alice")
    await bob.fence()
    assert bob.posts() == ["from home", "from her", "still from her"], "one copy of each"
    assert await bob.says("following") == "You follow 1: @alice"


async def test_unfollowing_by_text_ends_it_on_the_contact_list_too(world: World) -> None:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.adds("alice")
    assert await bob.says("unfollow alice") == "You do not follow @alice any more."
    await bob.gets(kind="presence", type="unsubscribed", sender=bob.author("alice"))
    await alice.says("gone")
    await bob.fence()
    assert bob.posts() == []
    roster = (await bob.asks(bob.jid, "<query xmlns='jabber:iq:roster'/>")).xml[0]
    kept = {item.get("jid"): item.get("subscription") for item in roster}
    assert kept[bob.author("alice")] == "none"
    assert await bob.says("unfollow alice") == (
        "You do not follow @alice; `following` lists whom you do."
    )


async def test_unfollowing_on_the_contact_list_ends_what_text_began(world: World) -> None:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.says("follow alice")
    await bob.adds("alice")
    bob.sends_raw(f"<presence to='{bob.author('alice')}' type='unsubscribe'/>")
    await bob.gets(kind="presence", type="unavailable", sender=bob.author("alice"))
    assert await bob.says("following") == "You follow nobody here. `follow NAME` changes that."
    await alice.says("gone")
    await bob.fence()
    assert bob.posts() == []
    assert await alice.says("followers") == "Nobody follows you yet."


async def test_a_subscription_asked_twice_is_answered_twice_and_is_one(world: World) -> None:
    [alice] = await world.authors("alice")
    far = await world.far()
    address = f"alice@{far.relay}"
    for _ in range(2):
        far.sends(f"<presence from='eve@far.test' to='{address}' type='subscribe'/>")
        await far.gets(type="subscribed", sender=address, to="eve@far.test")
        await far.gets(kind="presence", type=None, sender=address)
    await far.fence("eve")
    assert count(far.mail.ledger, type="subscribe") == 1, "asked for her presence once"
    assert await alice.says("followers") == "1 follow you: eve@far.test"


async def test_what_cannot_be_followed_is_refused_by_each_door(world: World) -> None:
    alice, _ = await world.authors("alice", "bob")
    far = await world.far()
    for who in ("nobody", "no body", "x" * 30):
        address = f"{who.replace(' ', '_')}@{far.relay}"
        far.sends(f"<presence from='eve@far.test' to='{address}' type='subscribe'/>")
        await far.gets(type="unsubscribed", sender=address)
    alice.sends_raw(f"<presence to='{alice.author('alice')}' type='subscribe'/>")
    await alice.gets(type="unsubscribed", sender=alice.author("alice"))
    await alice.gets(body="That is you; you see your own posts where you write them.")
    world.clock.passes(seconds=11)
    assert "no @nobody here" in await alice.says("follow nobody")
    assert (await alice.is_refused(":follow nobody")).condition == "item-not-found"
    assert (await alice.is_refused("follow alice")).condition == "not-allowed"


async def test_home_and_the_bare_domain_can_be_on_the_contact_list(world: World) -> None:
    [alice] = await world.people("alice")
    for address in (alice.home, alice.relay):
        alice.sends_raw(f"<presence to='{address}' type='subscribe'/>")
        await alice.gets(type="subscribed", sender=address)
        await alice.gets(kind="presence", type=None, sender=address)
        alice.sends_raw(f"<presence to='{address}' type='unsubscribe'/>")
        await alice.gets(type="unavailable", sender=address)
    assert world.service.graph.by_jid(alice.jid) is None, "and make nobody known"


async def test_a_person_follows_without_a_handle_and_by_full_address(world: World) -> None:
    [alice] = await world.authors("alice")
    far = await world.far()
    far.says("eve", "follow @ALICE", **{"from": "eve@far.test/phone"})
    await far.gets(body="You follow @alice now. `unfollow alice` ends it.", to="eve@far.test")
    far.says("fay", f"follow {alice.jid}")
    await far.gets(body="You follow @alice now. `unfollow alice` ends it.", to="fay@far.test")
    await alice.says("to both")
    await far.gets(body="alice: to both  #1", to="eve@far.test")
    await far.gets(body="alice: to both  #1", to="fay@far.test")


async def test_only_later_posts_count(world: World) -> None:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await alice.says("before")
    await bob.says("follow alice")
    await alice.says("between")
    await bob.says("unfollow alice")
    await alice.says("without him")
    await bob.says("follow alice")
    await alice.says("after")
    await bob.gets_post("after")
    assert bob.posts() == ["between", "after"]


# --- modes ---------------------------------------------------------------------------------------


async def test_the_mode_of_one_author_or_of_all_is_changed(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    [carol] = await world.people("carol")
    await carol.adds("alice")
    await carol.says("follow bob")

    async def senders() -> list[str]:
        await alice.says("hers")
        await bob.says("his")
        return [(await carol.gets_post(text)).sender for text in ("hers", "his")]

    assert await senders() == [carol.author("alice"), carol.home]
    assert await carol.says("mode alice home") == "Posts of @alice come from this address now."
    assert await senders() == [carol.home, carol.home]
    await carol.says("mode all author")
    assert await senders() == [carol.author("alice"), carol.author("bob")]
    await carol.says("mode all home")
    await world.restarts()
    await carol.fence()
    assert await senders() == [carol.home, carol.home]
    assert (await alice.is_refused("mode bob home")).condition == "not-allowed"


# --- who is told ---------------------------------------------------------------------------------


async def test_the_first_follower_is_told_at_once_and_the_next_together(world: World) -> None:
    [alice] = await world.authors("alice")
    far = await world.far()
    for who in ("eve", "fay", "gil"):
        far.says(who, "follow alice")
        await far.fence(who)
    await alice.gets(body="eve@far.test follows you.")
    await alice.fence()
    assert not [each for each in alice.mail.waiting if is_notice(each)]
    world.clock.passes(seconds=NOTICE_EVERY_S + 1)
    world.service.tick()
    told = await alice.gets(is_notice)
    assert told.body == "2 more follow you: fay@far.test, gil@far.test"
    far.says("hal", "follow alice")
    await far.fence("hal")
    world.service.tick()
    await alice.fence()
    assert not [each for each in alice.mail.waiting if is_notice(each)], "once in ten minutes"
    world.clock.passes(seconds=NOTICE_EVERY_S + 1)
    world.service.tick()
    assert (await alice.gets(is_notice)).body == "hal@far.test follows you."
    world.clock.passes(seconds=NOTICE_EVERY_S + 1)
    world.service.tick()
    await alice.fence()
    assert not [each for each in alice.mail.waiting if is_notice(each)], "nothing new, no notice"


async def test_following_again_is_no_news(world: World) -> None:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.says("follow alice")
    await alice.gets(is_notice)
    await bob.adds("alice")
    await bob.says("mode alice home")
    world.clock.passes(seconds=NOTICE_EVERY_S + 1)
    world.service.tick()
    await alice.fence()
    assert not [each for each in alice.mail.waiting if is_notice(each)]


# --- S5.5: asked once ----------------------------------------------------------------------------


async def test_presence_is_asked_for_once_in_a_life(world: World) -> None:
    await world.authors("alice", "bob")
    carol = await world.person("carol", shows_presence=None)
    await carol.comes()
    await carol.says("follow alice")
    await carol.gets(type="subscribe", sender=carol.home)
    await carol.says("follow bob")
    await carol.says("unfollow alice")
    await carol.says("follow alice")
    await world.restarts()
    await carol.adds("bob")
    await carol.fence()
    assert count(carol.mail.ledger, type="subscribe") == 1


# --- standings survive ---------------------------------------------------------------------------


async def test_a_restart_keeps_follows_modes_and_what_waits(world: World) -> None:
    [alice] = await world.authors("alice")
    bob, carol = await world.people("bob", "carol")
    await bob.adds("alice")
    await carol.says("follow alice")
    await alice.says("one")
    await bob.gets_post("one")
    await carol.gets_post("one")
    await bob.leaves()
    await alice.says("two")
    await carol.gets_post("two")
    await world.restarts()
    await alice.says("three")
    await carol.gets_post("three")
    await bob.comes()
    await bob.gets_post("three", sender=bob.author("alice"))
    await alice.says("four")
    for person in (bob, carol):
        await person.gets_post("four")
        assert person.posts() == ["one", "two", "three", "four"], "each once, in order"


async def test_what_is_under_way_when_the_relay_stops_is_confirmed_and_not_repeated(
    world: World,
) -> None:
    [alice] = await world.authors("alice")
    bob, carol = await world.people("bob", "carol")
    await bob.adds("alice")
    await carol.says("follow alice")
    await world.live(bob, carol)
    await world.service.relay.accept(Draft(alice.jid, "the last word", None, None, None))
    await world.until(lambda: world.service.delivery.in_flight() == 2)
    await world.restarts()
    await world.live(bob, carol)
    for person in (bob, carol):
        await person.fence()
        assert person.posts() == ["the last word"]


# --- the answer was cut off ----------------------------------------------------------------------


async def test_a_follow_whose_answer_was_cut_off_is_confirmed_when_it_is_asked_for_again(
    world: World,
) -> None:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    component = world.service.component
    with held(world.service.db.path):
        bob.sends_raw(f"<presence to='{bob.author('alice')}' type='subscribe'/>")
        await bob.asks(bob.relay, "<ping xmlns='urn:xmpp:ping'/>")  # the relay has it by now
        component.drop("cut by the test")
        await world.until(lambda: not component.up)
        component.write = lambda data: None  # type: ignore[method-assign]
    await world.service.intake.drained()
    del component.write  # type: ignore[method-assign]
    follower = world.person_id(bob)
    assert world.service.graph.follow(follower, world.person_id(alice)), "committed"
    await world.until(lambda: component.up)
    await bob.fence()
    assert not count(bob.mail.ledger, type="subscribed", sender=bob.author("alice"))
    await bob.leaves()
    await bob.comes()
    if not world.server.repeats_requests:
        bob.sends_raw(f"<presence to='{bob.author('alice')}' type='subscribe'/>")
    await bob.gets(type="subscribed", sender=bob.author("alice"))
    await alice.says("through")
    await bob.gets_post("through", sender=bob.author("alice"))
    assert not count(bob.mail.ledger, type="unsubscribed")


async def test_a_probe_of_a_follower_is_answered_by_the_confirmation_again(world: World) -> None:
    await world.authors("alice")
    far = await world.far()
    address = f"alice@{far.relay}"
    far.sends(f"<presence from='eve@far.test' to='{address}' type='subscribe'/>")
    await far.gets(type="subscribed", sender=address)
    far.sends(f"<presence from='eve@far.test' to='{address}' type='probe'/>")
    await far.gets(type="subscribed", sender=address)
    await far.gets(kind="presence", type=None, sender=address)
