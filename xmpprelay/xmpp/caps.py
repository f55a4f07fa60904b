"""Entity capabilities: what a device can do, told by a hash in its presence (XEP-0115).

The hash is over what the device answers when it is asked (XEP-0030), so the answer of one device
counts for all that show the same hash, once it is verified. What is not well-formed verifies
nothing, and so is what has a `<` within one of its parts: what stands between two parts of the
hashed text must not be within one. Even so a liar who takes pains can pass off a feature as
something else (XEP-0115 §9.3); nothing may depend on it that somebody would gain by.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.xmpp.disco import DATA, DISCO_INFO, RELAY_FEATURE, Discovery
from xmpprelay.xmpp.stanzas import XML, tag

CAPS: Final = "http://jabber.org/protocol/caps"

_ALGORITHMS: Final = {
    "sha-1": "sha1",
    "sha-224": "sha224",
    "sha-256": "sha256",
    "sha-384": "sha384",
    "sha-512": "sha512",
}
"""What we verify, by the IANA's names; md5 and md2, which are broken, are left out."""

_MAX_ALGORITHM, _MAX_VER, _MAX_NODE = 20, 128, 1024
"""Characters: a SHA-512 in Base64 has 88; nobody's node is longer than a long URI."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a device shows: a hash of what it can do."""

    algorithm: str
    ver: str


def claim_in(presence: Element) -> tuple[Claim, str] | None:
    """What a presence shows, and the node to ask about it (XEP-0115 §5.1, §6.2); None: nothing.

    The old format, without the name of a hash, is nothing.
    """
    shown = presence.find(tag("c", CAPS))
    if shown is None:
        return None
    algorithm, ver, node = (shown.get(name, "") for name in ("hash", "ver", "node"))
    if not (0 < len(algorithm) <= _MAX_ALGORITHM and 0 < len(ver) <= _MAX_VER):
        return None
    return (Claim(algorithm, ver), f"{node}#{ver}") if 0 < len(node) <= _MAX_NODE else None


def show_claim(presence: Element, node: str, claim: Claim) -> None:
    """Let a presence of ours show what its address can do."""
    SubElement(presence, tag("c", CAPS), {"hash": claim.algorithm, "node": node, "ver": claim.ver})


def claim_of(answer: Element, algorithm: str) -> Claim | None:
    """The hash of an answer, its <query/> (XEP-0115 §5.1).

    None: another algorithm than we know, or the answer is not well-formed (XEP-0115 §5.4).
    """
    name = _ALGORITHMS.get(algorithm)
    if name is None:
        return None
    identities = ["/".join(_identity(each)) for each in answer.findall(tag("identity", DISCO_INFO))]
    features = [each.get("var", "") for each in answer.findall(tag("feature", DISCO_INFO))]
    forms = [each for form in answer.findall(tag("x", DATA)) if (each := _form(form)) is not None]
    names = [form[0] for form in forms]
    if any(len(set(each)) < len(each) for each in (identities, features, names)):
        return None
    parts = [*_sorted(identities), *_sorted(features)]
    for form in sorted(forms, key=lambda form: form[0].encode()):
        parts += form
    if any("<" in part for part in parts):
        return None
    hashed = "".join(f"{part}<" for part in parts).encode("utf-8", "surrogatepass")
    digest = hashlib.new(name, hashed, usedforsecurity=False).digest()
    return Claim(algorithm, base64.b64encode(digest).decode())


class Shown:
    """What home@relay shows that it can do, to those of whose nodes it wants events.

    To all others it shows nothing: their servers would send what is nothing to us.
    """

    def __init__(self, discovery: Discovery, wanted: Sequence[str]) -> None:
        self._discovery = discovery
        self._wanted = [f"{node}+notify" for node in wanted]
        discovery.shown = self.about

    def about(self, node: str) -> Element | None:
        """What stands behind our hash, as it is asked for (XEP-0115 §6.2); None: it is not ours."""
        info, claim = self._info()
        if node != f"{RELAY_FEATURE}#{claim.ver}":
            return None
        info.set("node", node)
        return info

    def put_into(self, presence: Element) -> None:
        """Show it in a presence."""
        show_claim(presence, RELAY_FEATURE, self._info()[1])

    def _info(self) -> tuple[Element, Claim]:
        info = self._discovery.of_home()
        for feature in (CAPS, *self._wanted):
            SubElement(info, tag("feature", DISCO_INFO), var=feature)
        claim = claim_of(info, "sha-1")
        if claim is None:
            raise AssertionError("what we say of ourselves is not well-formed")
        return info, claim


def _identity(identity: Element) -> Iterator[str]:
    for name in ("category", "type", f"{{{XML}}}lang", "name"):
        yield identity.get(name, "")


def _form(form: Element) -> Sequence[str] | None:
    """The parts of a form, its type first; None: it has no type, and does not count."""
    fields = {field.get("var", ""): field for field in form.findall(tag("field", DATA))}
    kind = fields.pop("FORM_TYPE", None)
    if kind is None or kind.get("type") != "hidden":
        return None
    parts = [*sorted(set(_values(kind)))]
    if len(parts) != 1:
        return ["<"]  # more than one type: not well-formed
    for name in _sorted(fields):
        parts += [name, *_sorted(_values(fields[name]))]
    return parts


def _values(field: Element) -> Sequence[str]:
    return [value.text or "" for value in field.findall(tag("value", DATA))]


def _sorted(texts: "Sequence[str] | dict[str, Element]") -> list[str]:
    """By their bytes (RFC 4790 §9.3)."""
    return sorted(texts, key=lambda text: text.encode("utf-8", "surrogatepass"))
