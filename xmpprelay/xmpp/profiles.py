"""Who stands behind an address: the vCard of home@relay and of authors (XEP-0054).

Clients take the name that they show from its NICKNAME.
"""

from xml.etree.ElementTree import Element

from slixmpp.plugins.xep_0054.stanza import VCardTemp

from xmpprelay.xmpp.addresses import Address, Author
from xmpprelay.xmpp.disco import Questions
from xmpprelay.xmpp.stanzas import tag

_VCARD = "vcard-temp"


class Profiles:
    """Answers questions for vCards."""

    def __init__(self, questions: Questions, name: str) -> None:
        self._name = name
        questions.answer("get", tag("vCard", _VCARD), self._vcard)

    def _vcard(self, iq: Element, target: Address, payload: Element) -> Element:
        del iq, payload
        card = VCardTemp()
        if isinstance(target, Author):
            card["NICKNAME"] = target.person.handle or ""
            card["FN"] = target.person.handle or ""
        else:
            card["NICKNAME"] = card["FN"] = self._name
            card["DESC"] = "Write here to post; `help` lists what else can be typed."
        xml: Element = card.xml
        return xml
