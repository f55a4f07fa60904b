"""What the relay says that it is: written once, and anew when the primary is otherwise."""

from typing import Any
from xml.etree.ElementTree import Element, fromstring

from xmpprelay.core.graph import Graph
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.disco import Discovery, Questions
from xmpprelay.xmpp.stanzas import COMPONENT, PING

RELAY = "relay.example.test"
INFO = "http://jabber.org/protocol/disco#info"
VALUES = f"{{{INFO}}}query/{{jabber:x:data}}x/{{jabber:x:data}}field/{{jabber:x:data}}value"


class Written(Component):
    """A component of which the test has what is written."""

    def __init__(self) -> None:
        super().__init__(RELAY, "s", "127.0.0.1", 1, "example.test")
        self.stanzas: list[Element] = []

    def write(self, data: bytes) -> None:
        [stanza] = fromstring(b"<x xmlns='%b'>%b</x>" % (COMPONENT.encode(), data))
        self.stanzas.append(stanza)


class Asked:
    """The answers about the relay's own two addresses."""

    def __init__(self, **contacts: Any) -> None:
        self.component = Written()
        addresses = Addresses(RELAY, "home", Graph(["example.test"]))
        self.questions = Questions(self.component, addresses, lambda _: True)
        self.discovery = Discovery(self.questions, addresses, "the relay", contacts)

    def asks(self, to: str, name: str = "q", payload: str = f"<query xmlns='{INFO}'/>") -> Element:
        self.questions.take(
            fromstring(
                f"<iq xmlns='{COMPONENT}' from='bob@example.test/x' to='{to}' id='{name}' "
                f"type='get'>{payload}</iq>"
            )
        )
        return self.component.stanzas.pop()


def features(answer: Element) -> set[str]:
    return {each.get("var", "") for each in answer.iter(f"{{{INFO}}}feature")}


async def test_each_address_says_what_it_is_again_and_again_to_whoever_asks() -> None:
    asked = Asked(admin=["mailto:ann@example.test"])
    for name in ("one", "two"):
        home, relay = asked.asks(f"home@{RELAY}", name), asked.asks(RELAY, name)
        for answer, sender in ((home, f"home@{RELAY}"), (relay, RELAY)):
            assert (answer.get("from"), answer.get("to")) == (sender, "bob@example.test/x")
            assert (answer.get("id"), answer.get("type")) == (name, "result")
            assert {PING, INFO} <= features(answer)
        assert "mailto:ann@example.test" in [value.text for value in relay.findall(VALUES)]
        assert not home.findall(VALUES)


async def test_what_is_said_of_the_primary_is_of_now() -> None:
    asked, status = Asked(), {"primary": "online", "waiting": "0"}
    asked.discovery.status = lambda: dict(status)
    for primary, waiting in (("online", "0"), ("online", "7"), ("standby", "7"), ("online", "0")):
        status.update(primary=primary, waiting=waiting)
        for to in (RELAY, f"home@{RELAY}"):
            told = [value.text for value in asked.asks(to).findall(VALUES)]
            assert [primary, waiting] == told[1:], to
