"""What is written and how it arrives: answers, direct messages, boosts, likes, edits, deletions.

Who gets what is told by the stories in `tests/scenarios/`; here is what they do not show: the
stanzas, resends, the limits, and what clients send in ways that nobody types.
"""

from typing import Final

from tests.integration.clients import HINTS, SID, FarServer, Person, Stanza, new_id
from tests.integration.world import FAR, World
from xmpprelay.config import Limits
from xmpprelay.store import queries

REPLY: Final = "urn:xmpp:reply:0"
CORRECT: Final = "urn:xmpp:message-correct:0"
RETRACT: Final = "urn:xmpp:message-retract:1"
FALLBACK: Final = "urn:xmpp:fallback:0"
REACTIONS: Final = "urn:xmpp:reactions:0"


async def two(world: World) -> tuple[Person, Person]:
    """alice and bob have joined long ago, and follow each other from their contact lists."""
    alice, bob = await world.authors("alice", "bob")
    await alice.adds("bob")
    await bob.adds("alice")
    world.clock.passes(days=2)
    await alice.fence()
    await bob.fence()
    return alice, bob


def post_id(world: World, short: str, change: str = "") -> str:
    return f"{short}.{world.service.db.epoch}{change}"


def answering(name: str, inside: str = "") -> str:
    return f"<reply xmlns='{REPLY}' id='{name}'/>{inside}"


def correcting(name: str) -> str:
    return f"<replace xmlns='{CORRECT}' id='{name}'/>"


def retracting(name: str) -> str:
    return f"<retract xmlns='{RETRACT}' id='{name}'/>"


def reacting(name: str, *kinds: str) -> str:
    inner = "".join(f"<reaction>{kind}</reaction>" for kind in kinds)
    return f"<reactions xmlns='{REACTIONS}' id='{name}'>{inner}</reactions>"


def refers_to(stanza: Stanza, name: str, namespace: str) -> str | None:
    element = stanza.child(name, namespace)
    return None if element is None else element.get("id")


# --- answers -------------------------------------------------------------------------------------


async def test_an_answer_refers_to_the_post_only_where_that_came_from_the_same_address(
    world: World,
) -> None:  # S2.7
    alice, bob = await two(world)
    carol, dave = await world.people("carol", "dave")
    for author in ("alice", "bob"):
        await carol.says(f"follow {author}")
        await dave.adds(author)
    await alice.says("tea?")
    first = await bob.gets_post("tea?")
    assert first.child("thread") is None
    await bob.says("yes", inside=answering(first.id or ""))
    to_carol, to_dave = await carol.gets_post("@alice yes"), await dave.gets_post("@alice yes")
    to_alice = await alice.gets_post("@alice yes")
    reply = to_carol.child("reply", REPLY)
    assert reply is not None
    assert (reply.get("id"), reply.get("to")) == (first.id, carol.home), "both from home"
    assert not to_dave.has("reply", REPLY), "from bob, and the post came from alice"
    assert not to_alice.has("reply", REPLY), "it is her own post"
    await alice.says("or coffee", inside=answering(post_id(world, "1")))
    again = await dave.gets_post("or coffee")
    assert refers_to(again, "reply", REPLY) == first.id, "both from alice"
    threads = {each.xml.findtext("{*}thread") for each in (to_carol, to_dave, to_alice, again)}
    assert threads == {first.id}, "one thread, named by the post that began it"
    for each in (to_alice, to_carol):
        assert each.has("no-store", HINTS) is (each is to_carol), "an answer to her is kept (S1.4)"


async def test_a_thread_keeps_its_name_however_long_it_grows(world: World) -> None:
    alice, bob = await two(world)
    await alice.says("one")
    for number, who in enumerate((bob, alice, bob), 2):
        await who.says(f"re #{number - 1} and {number}")
        other = alice if who is bob else bob
        got = await other.gets(lambda stanza, n=number: stanza.id == post_id(world, str(n)))
        assert got.xml.findtext("{*}thread") == post_id(world, "1")


async def test_the_quotation_of_an_answer_is_taken_off(world: World) -> None:  # XEP-0428
    alice, bob = await two(world)
    await alice.says("tea?")
    fallback = f"<fallback xmlns='{FALLBACK}' for='{REPLY}'><body start='0' end='7'/></fallback>"
    await bob.says("> tea?\nyes", inside=answering(post_id(world, "1"), fallback))
    await alice.gets_post("@alice yes")
    refused = await bob.is_refused("> tea?\n", inside=answering(post_id(world, "1"), fallback))
    assert refused.condition == "bad-request"


async def test_an_answer_to_what_is_no_post_is_an_ordinary_post(world: World) -> None:
    alice, bob = await two(world)
    answer = answering(new_id())
    await alice.says("hello", inside=answer)
    got = await bob.gets_post("hello")
    assert got.child("thread") is None
    assert "is public" in await alice.says("hello you", alice.author("bob"), inside=answer)
    assert (await bob.gets_post("hello you")).sender == bob.author("alice")


async def test_at_bob_answers_his_last_post_that_came_within_twelve_hours(
    world: World,
) -> None:  # S2.8
    alice, bob = await two(world)
    await bob.says("first")
    await bob.says("second")
    await alice.gets_post("second")
    await bob.says("@carol is not here")
    await alice.says("@bob yes")
    assert (await bob.gets_post("@bob yes")).xml.findtext("{*}thread") == post_id(world, "3")
    await alice.says("catchup 0")
    await alice.leaves()
    await bob.says("while she is away")
    world.clock.passes(minutes=10)
    await alice.comes()
    assert (await alice.hears()).startswith("1 more: bob 1")
    await alice.says("@bob and then?")
    assert (await bob.gets_post("@bob and then?")).xml.findtext("{*}thread") == post_id(world, "3")
    [carol] = await world.authors("carol")
    await carol.says("@bob I was sent nothing of yours")
    world.clock.passes(hours=13)
    await alice.says("@bob what was that?")
    assert (await bob.gets_post("@bob what was that?")).child("thread") is None
    posts = await world.service.db.read(lambda conn: queries.recent_posts(conn, 10))
    assert [post.parent for post in posts] == [None, None, None, 3, None, 3, None, None]


# --- direct messages -----------------------------------------------------------------------------


async def test_a_direct_message_is_kept_by_the_recipients_server_and_sent_once(
    world: World,
) -> None:  # S4.2, S1.3
    alice, bob = await two(world)
    for _ in range(3):
        assert await alice.says("d bob psst\nand more", id="again", origin="again") == "sent"
    got = await bob.gets_post("psst\nand more")
    assert (got.sender, got.type, got.id) == (bob.author("alice"), "chat", post_id(world, "1"))
    assert not got.has("no-store", HINTS)
    for _ in range(2):
        await alice.says("twice", bob.author("bob"), id="weak", origin="")
    await bob.gets_post("twice")
    await alice.says("in public")
    await bob.gets_post("in public")
    assert bob.posts() == ["psst\nand more", "twice", "in public"]


async def test_an_edit_of_a_direct_message_names_nobody(world: World) -> None:
    alice, bob = await two(world)
    [carol] = await world.authors("carol")
    await carol.says("follow alice")
    await carol.says("mentions all")
    name = new_id()
    await alice.says("psst", alice.author("bob"), id=name, origin=name)
    await alice.says("psst @carol", alice.author("bob"), inside=correcting(name))
    changed = await bob.gets_post("psst @carol")
    assert refers_to(changed, "replace", CORRECT) == post_id(world, "1")
    assert changed.sender == bob.author("alice")
    assert not changed.has("no-store", HINTS)
    await alice.says("in public")
    await carol.gets_post("in public")
    assert carol.posts() == ["in public"]


async def test_what_is_typed_to_one_person_never_gets_into_a_post_of_all(world: World) -> None:
    alice, bob = await two(world)
    name = new_id()
    await alice.says("for all", id=name, origin=name)
    refused = await alice.is_refused("for bob", alice.author("bob"), inside=correcting(name))
    assert refused.condition == "not-allowed"
    assert "as a new message" in refused.text
    await alice.says("next")
    await bob.gets_post("next")
    assert bob.posts() == ["for all", "next"]


async def test_text_to_one_person_before_a_join_is_not_posted_by_it(world: World) -> None:
    await world.authors("alice")
    [bob] = await world.people("bob")
    assert (await bob.is_refused("psst", bob.author("alice"))).condition == "registration-required"
    assert (await bob.is_refused("d alice psst")).condition == "registration-required"
    await bob.joins("bob")
    assert await bob.says("hello") == "ok #1: nobody follows you yet"


# --- how it comes --------------------------------------------------------------------------------


async def test_a_person_says_how_posts_come(world: World) -> None:  # S1.4, S1.6
    alice, bob = await two(world)
    await bob.says("ids on")
    await alice.says("one")
    assert (await bob.gets(id=post_id(world, "1"))).body == "one  #1"
    await bob.says("ids off")
    await bob.says("archive on")
    await alice.says("two")
    assert not (await bob.gets_post("two")).has("no-store", HINTS)
    await bob.says("archive off")
    await bob.says("delivery headline")
    await alice.says("three")
    assert (await bob.gets_post("three")).type == "headline"
    await alice.says("and @bob")
    named = await bob.gets_post("and @bob")
    assert (named.type, named.has("no-store", HINTS)) == ("chat", False)
    await alice.says("d bob four")
    assert (await bob.gets_post("four")).type == "chat"


async def test_the_language_of_posts_that_do_not_say(world: World) -> None:
    alice, bob = await two(world)
    await alice.says("lang pt-BR")
    for more, lang in (({}, "pt-BR"), ({"xml:lang": "de"}, "de")):
        text = f"in {lang}"
        alice.sends_raw(
            f"<message to='{alice.home}' type='chat' id='{new_id()}'"
            + "".join(f" {key}='{value}'" for key, value in more.items())
            + f"><body>{text}</body></message>"
        )
        got = await bob.gets_post(text)
        declared = got.xml.get("{http://www.w3.org/XML/1998/namespace}lang")
        assert declared in (lang, "en") if not more else declared == lang


async def test_quiet_leaves_the_receipt_alone(world: World) -> None:  # S1.5
    alice, bob = await two(world)
    await alice.says("quiet on")
    name = new_id()
    assert await alice.tries("one", id=name, origin=name) is None
    assert await alice.tries("d bob two") is None
    assert await alice.tries("uno", inside=correcting(name)) is None
    assert await alice.tries(None, inside=retracting(name)) is None
    assert await alice.says("@nobody three") == (
        "no @nobody here; sent as an ordinary post; `del` within 2 minutes undoes it"
    )
    await alice.fence()
    for text in ("one", "two", "uno", "@nobody three"):
        await bob.gets_post(text)


async def test_from_five_people_on_the_answer_has_two_numbers(world: World) -> None:  # S1.5
    [alice] = await world.authors("alice")
    names = [f"f{number}" for number in range(5)]
    followers = await world.people(*names)
    for each in followers:
        await each.says("follow alice")
    await world.live(*followers)
    assert await alice.says("one") == "ok #1: 5 now, 0 later"
    await followers[0].says("mute alice")
    await followers[1].says("block alice")
    assert await alice.says("two") == "ok #2: 4 people", "of the mute she is not told"


async def test_relay_only_is_remembered(world: World) -> None:
    alice, bob = await two(world)
    await alice.says("~only here")
    await bob.gets_post("only here")
    post = world.service.delivery.post(1)
    assert post is not None
    assert post.relay_only


# --- boosts and likes ----------------------------------------------------------------------------


async def test_a_boost_is_one_however_often_it_is_sent(world: World) -> None:  # S8.1
    alice, bob = await two(world)
    [carol] = await world.people("carol")
    await carol.adds("bob")
    await alice.says("news", **{"xml:lang": "de"})
    for _ in range(2):
        told = await bob.says("boost #1", id="again", origin="again")
    assert told == "#1 is boosted already."
    got = await carol.gets(id=post_id(world, "2"))
    assert (got.body, got.sender) == ("bob boosts alice: news  #1", carol.author("bob"))
    assert got.xml.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
    await alice.says("edit #2 good news")
    await bob.gets_post("good news")
    await carol.says("like #2")
    assert (await alice.hears()).endswith("likes #1")
    await bob.says("re #2 indeed")
    await alice.gets_post("@alice indeed")
    await bob.says("good night")
    await carol.gets_post("good night")
    assert [each.id for each in carol.mail.ledger if each.post_id] == [
        post_id(world, "2"), post_id(world, "5"),
    ]  # fmt: skip


async def test_a_window_knows_its_last_post(world: World) -> None:  # S3.3
    alice, bob = await two(world)
    assert (await bob.is_refused("like", bob.author("alice"))).condition == "item-not-found"
    await alice.says("one")
    await alice.says("two")
    await bob.gets_post("two")
    assert await bob.says("like", bob.author("alice")) == "You like #2."
    assert await bob.says("like", bob.author("alice"), inside=answering(post_id(world, "1"))) == (
        "You like #1."
    )
    assert (await bob.says("boost", bob.author("alice"))).startswith("ok #3")


async def test_reactions_of_all_kinds_are_one_like_and_are_not_answered(
    world: World,
) -> None:  # S8.2
    alice, bob = await two(world)
    name = new_id()
    await alice.says("one", id=name, origin=name)
    await bob.gets_post("one")
    for kinds in (("+",), ("+", "-", "\U0001f600"), (), ("x",) * 50):
        assert await bob.tries(None, inside=reacting(post_id(world, "1"), *kinds)) is None
    assert await bob.tries(None, inside=reacting("of nothing", "+")) is None
    refused = await bob.is_refused(None, inside=reacting(post_id(world, "9"), "+"))
    assert refused.condition == "item-not-found"
    assert await alice.hears() == "@bob likes #1"
    assert await alice.tries(None, inside=reacting(name, "+")) is None, "her own message's id"
    await bob.fence()
    await alice.fence()


async def test_likes_are_told_together_and_what_was_taken_back_is_not(world: World) -> None:
    alice, bob = await two(world)
    others = await world.people("carol", "dave", "erin")
    for each in others:
        await each.says("follow alice")
    await alice.hears()
    for text in ("one", "two"):
        await alice.says(text)
    await others[2].gets_post("two")
    world.clock.passes(seconds=10)  # since alice was told who follows her
    await bob.says("like #1")
    assert await alice.hears() == "@bob likes #1"
    for each in others:
        await each.says("like #1")
    await others[0].says("like #2")
    assert await others[1].tries(None, inside=reacting(post_id(world, "1"))) is None
    world.clock.passes(minutes=4)
    world.service.tick()
    await alice.fence()
    world.clock.passes(minutes=2)
    world.service.tick()
    carol, _, erin = (each.jid for each in others)
    assert await alice.hears() == f"{carol} and {erin} like #1; {carol} likes #2"


# --- edits and deletions -------------------------------------------------------------------------


async def test_an_edit_has_an_id_of_its_own_and_is_made_once(world: World) -> None:  # S9.1
    alice, bob = await two(world)
    name = new_id()
    await alice.says("teh", id=name, origin=name)
    for _ in range(2):
        await alice.says("the", id="again", origin="again", inside=correcting(name))
    got = await bob.gets_post("the")
    assert (got.id, got.post_id) == (post_id(world, "1", ".e1"), post_id(world, "1", ".e1"))
    assert got.has("no-store", HINTS)
    assert await alice.says("thee", inside=correcting("again")) == "ok #1: edited", "of the edit"
    assert (await bob.gets_post("thee")).id == post_id(world, "1", ".e2")
    await alice.says("thou", inside=correcting(post_id(world, "1")))
    await bob.gets_post("thou")
    refused = await alice.is_refused(" ", inside=correcting(name))
    assert refused.condition == "bad-request"
    refused = await alice.is_refused("x" * 2001, inside=correcting(name))
    assert refused.condition == "policy-violation"
    assert "\\" in await alice.says("folow bob", inside=correcting(name))
    await alice.says("next")
    await bob.gets_post("next")
    assert bob.posts() == ["teh", "the", "thee", "thou", "next"]


async def test_somebody_newly_named_gets_the_new_text_as_a_mention(world: World) -> None:
    alice, bob = await two(world)
    [carol] = await world.authors("carol")
    await carol.says("mentions all")
    await alice.says("@bob look")
    await alice.says("edit #1 @bob and @carol look")
    assert refers_to(await bob.gets_post("@bob and @carol look"), "replace", CORRECT)
    got = await carol.gets_post("@bob and @carol look")
    assert not got.has("replace", CORRECT), "it is new to her"
    assert not got.has("no-store", HINTS)
    assert got.body == "alice: @bob and @carol look  #1"


async def test_a_corrected_answer_keeps_the_name_in_front(world: World) -> None:
    alice, bob = await two(world)
    await alice.says("tea?")
    name, answer = new_id(), answering(post_id(world, "1"))
    await bob.says("yess", id=name, origin=name, inside=answer)
    await alice.gets_post("@alice yess")
    await bob.says("yes", inside=answer + correcting(name))
    await alice.gets_post("@alice yes")


async def test_a_retraction_says_what_it_takes_back_and_is_made_once(world: World) -> None:
    alice, bob = await two(world)  # S9.2
    for text in ("one", "two", "three"):
        await alice.says(text, id=text, origin=text)
    for _ in range(2):
        assert await alice.says("del", id="again", origin="") == "#3 is deleted."
    got = await bob.gets(id=post_id(world, "3", ".d"))
    assert refers_to(got, "retract", RETRACT) == post_id(world, "3")
    fallback = got.child("fallback", FALLBACK)
    assert fallback is not None
    assert fallback.get("for") == RETRACT
    assert got.body == "(this post was deleted)"
    fastened = f"<apply-to xmlns='urn:xmpp:fasten:0' id='two'>{retracting('')}</apply-to>"
    assert (await alice.tries(None, inside=fastened.replace(":1", ":0"))) is None
    await bob.gets(id=post_id(world, "2", ".d"))
    for name, condition in (("two", "item-not-found"), ("x", "item-not-found")):
        refused = await alice.is_refused(None, inside=retracting(name))
        assert refused.condition == condition
    refused = await bob.is_refused(None, inside=retracting(post_id(world, "1")))
    assert refused.condition == "item-not-found"
    await alice.says("four")
    await bob.gets_post("four")
    assert bob.posts()[-1] == "four"
    assert [each for each in bob.posts() if "deleted" not in each] == [
        "one",
        "two",
        "three",
        "four",
    ]


async def test_a_change_that_comes_back_is_sent_again(world: World) -> None:  # RFC 6120 §8.3
    [alice] = await world.authors("alice")
    far = await world.far()
    far.sends(f"<presence from='erin@{FAR}' to='{alice.author('alice')}' type='subscribe'/>")
    await far.gets(kind="presence", type="subscribe")
    far.sends(f"<presence from='erin@{FAR}' to='{alice.home}' type='subscribed'/>")
    far.sends(f"<presence from='erin@{FAR}/x' to='{alice.home}'/>")
    await world.until(lambda: _is_live(world, f"erin@{FAR}"))
    await alice.says("teh")
    await far.gets(id=post_id(world, "1"))
    await world.settled()
    for line, change in (("edit #1 the", ".e1"), ("del #1", ".d")):
        await alice.says(line)
        name = post_id(world, "1", change)
        await far.gets(id=name)
        _bounces(far, name, alice)
        probe = await far.gets(kind="presence", type="probe")
        far.sends(f"<presence from='{probe.to}' to='{probe.sender}' type='unavailable'/>")
        await world.until(lambda: not _is_live(world, f"erin@{FAR}"))
        far.sends(f"<presence from='erin@{FAR}/y' to='{alice.home}'/>")
        await far.gets(id=name)
        await world.settled()


def _is_live(world: World, jid: str) -> bool:
    person = world.service.graph.by_jid(jid)
    state = None if person is None else world.service.delivery.state_of(person.id)
    return str(state) == "State.LIVE"


def _bounces(far: FarServer, name: str, alice: Person) -> None:
    far.sends(
        f"<message from='erin@{FAR}' to='{alice.author('alice')}' type='error' id='{name}'>"
        "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "</error></message>"
    )


# --- limits --------------------------------------------------------------------------------------


async def test_the_rate_is_for_everything_that_goes_out(world: World) -> None:  # S10.5
    await world.starts(limits=Limits(posts_per_second=0.001, burst=2))
    alice, bob = await two(world)
    await alice.says("one", id="one", origin="one")
    await alice.says("d bob two", id="two", origin="two")
    for line in ("three", "d bob three", "edit #1 three", "del #1", "boost #1"):
        refused = await alice.is_refused(line)
        assert (refused.condition, refused.type) == ("policy-violation", "wait"), line
    assert await alice.says("d bob two", id="two", origin="two") == "sent", "a resend"
    assert (await bob.gets_post("two")).has("origin-id", SID)
