"""Domains and bare JIDs as an operator writes them, in the form in which XMPP compares them.

What passes here is, character for character, what the JID of a stanza from that address holds; a
few odd addresses pass that no server would have. Else it is stricter than XMPP: no IP addresses,
and only letters, digits and hyphens in a domain, which is what a DNS name can have. The functions
raise ValueError with words that continue the address:
"… is not a domain name".
"""

import re
import stringprep
from encodings import idna
from typing import Final

_LABEL: Final = re.compile(rb"[a-z0-9-]{1,63}")
_NOT_IN_LOCAL_PART: Final = frozenset("\"&'/:<>@ \x7f") | frozenset(map(chr, range(0x20)))
_MAX_DOMAIN_BYTES: Final = 253  # of a DNS name (RFC 1035 §3.1, without the length bytes)
_MAX_LOCAL_BYTES: Final = 1023  # RFC 7622 §3.3


def domain_name(text: str) -> str:
    """The domain, prepared: in lower case, without a dot at the end, `xn--` written out.

    Source: RFC 7622 §3.2, RFC 6122 §2.2.
    """
    try:
        labels = [_prepared(label) for label in text.removesuffix(".").split(".")]
        ascii_labels = [idna.ToASCII(label) for label in labels]
    except UnicodeError:
        raise ValueError("is not a domain name") from None
    edges = {edge for label in labels for edge in (label[:1], label[-1:])}
    if "-" in edges or not all(map(_LABEL.fullmatch, ascii_labels)):
        raise ValueError("is not a domain name")
    if ascii_labels[-1].isdigit():
        raise ValueError("is an address, not a domain name")
    if len(b".".join(ascii_labels)) > _MAX_DOMAIN_BYTES:
        raise ValueError("is longer than a domain name can be")
    return ".".join(
        idna.ToUnicode(label) if label.startswith("xn--") else label for label in labels
    )


def bare_jid(text: str) -> str:
    """The bare JID, prepared. A JID without a local part is none here: nobody speaks from it.

    Source: RFC 7622 §3.3, RFC 6122 appendix A.
    """
    local, at, domain = text.partition("@")
    if "/" in text:
        raise ValueError("has a resource, or a / that does not belong there")
    try:
        local, domain = _prepared(local), domain_name(domain)
    except ValueError:
        at = ""
    if not at or not local or _NOT_IN_LOCAL_PART.intersection(local):
        raise ValueError("is not a bare JID such as alice@example.org")
    if len(local.encode()) > _MAX_LOCAL_BYTES:
        raise ValueError("is longer than a JID can be")
    return f"{local}@{domain}"


def _prepared(text: str) -> str:
    """By nameprep; that of a local part only prohibits some characters more. UnicodeError if not.

    XMPP knows Unicode as it was in version 3.2: what came later is not allowed.
    """
    if text.isascii():
        return text.lower()  # the same, thirty times as fast: imports have many of them
    prepared = idna.nameprep(text)
    if any(map(stringprep.in_table_a1, text + prepared)):
        raise UnicodeError
    return prepared
