"""Whose devices want events of authors' nodes, as their clients show it in their presence."""

from xml.etree.ElementTree import fromstring
from xml.sax.saxutils import quoteattr

from slixmpp import Iq
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.integration.clients import DISCO_INFO, Person, Stanza
from tests.integration.world import World
from xmpprelay.core.nodes import MICROBLOG, NICK
from xmpprelay.xmpp.caps import CAPS, claim_of

NODE = "https://example.org/client"


def answer_of(*features: str) -> str:
    """What a client answers that has these features."""
    listed = "".join(f"<feature var={quoteattr(each)}/>" for each in features)
    identity = "<identity category='client' type='pc' name='Example'/>"
    return f"<query xmlns='{DISCO_INFO}'>{identity}{listed}</query>"


def showing(answer: str) -> str:
    """The presence of a client that answers so."""
    claim = claim_of(fromstring(answer), "sha-1")
    assert claim is not None
    shown = f"<c xmlns='{CAPS}' hash='sha-1' node='{NODE}' ver={quoteattr(claim.ver)}/>"
    return f"<presence>{shown}</presence>"


def tells(person: Person, answer: str) -> None:
    """Let her client answer who asks what it can do."""

    def told(iq: Iq) -> None:
        person.sends_raw(f"<iq type='result' to='{iq['from']}' id='{iq['id']}'>{answer}</iq>")

    asked = MatchXPath(f"{{jabber:client}}iq/{{{DISCO_INFO}}}query")
    person._connected().register_handler(Callback("disco", asked, told))


def is_asked(stanza: Stanza) -> bool:
    """Whether somebody, the server itself may be one, wants to know what her client can do."""
    return stanza.type == "get" and stanza.has("query", DISCO_INFO)


async def test_devices_that_want_posts_as_events_are_known_while_they_are_there(
    world: World,
) -> None:
    await world.authors("alice")
    [bob, carol] = await world.people("bob", "carol")
    for reader in (bob, carol):
        await reader.says("follow alice")
    await world.live(bob, carol)
    wants = answer_of(f"{MICROBLOG}+notify", "urn:xmpp:ping")
    tells(bob, wants)
    bob.sends_raw(showing(wants))
    interests, person = world.service.interests, world.person_id
    await bob.gets(is_asked, sender=bob.home)
    await world.until(lambda: bool(interests.devices(person(bob), MICROBLOG)))
    device = bob.full_jid.partition("/")[2]
    assert interests.devices(person(bob), MICROBLOG) == [device]
    assert not interests.devices(person(bob), NICK)

    carol.sends_raw(showing(wants))  # the same: she is not asked
    await world.until(lambda: bool(interests.devices(person(carol), MICROBLOG)))
    assert not [each for each in filter(is_asked, carol.mail.ledger) if each.sender == carol.home]

    await bob.leaves()
    await world.away(bob)
    assert not interests.devices(person(bob), MICROBLOG)
    await world.restarts()  # what was asked is forgotten, and asked again
    tells(carol, wants)
    await carol.gets(is_asked, sender=carol.home)
    interests = world.service.interests
    await world.until(lambda: bool(interests.devices(person(carol), MICROBLOG)))


async def test_a_lie_about_what_others_show_counts_for_the_liar_alone(world: World) -> None:
    await world.authors("alice")
    [liar, bob] = await world.people("liar", "bob")
    for reader in (liar, bob):
        await reader.says("follow alice")
    await world.live(liar, bob)
    honest, lie = answer_of(f"{MICROBLOG}+notify"), answer_of("urn:xmpp:ping")
    tells(liar, lie)
    tells(bob, honest)
    liar.sends_raw(showing(honest))
    await liar.gets(is_asked, sender=liar.home)
    bob.sends_raw(showing(honest))
    interests, person = world.service.interests, world.person_id
    await world.until(lambda: bool(interests.devices(person(bob), MICROBLOG)))
    assert not interests.devices(person(liar), MICROBLOG)
