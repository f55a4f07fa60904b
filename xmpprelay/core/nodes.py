"""Names of nodes that authors have, at this relay and elsewhere."""

from typing import Final

MICROBLOG: Final = "urn:xmpp:microblog:0"
"""Posts (XEP-0277 §2, XEP-0472 §4.1)."""

AVATAR_DATA: Final = "urn:xmpp:avatar:data"
AVATAR_METADATA: Final = "urn:xmpp:avatar:metadata"
"""A picture, and about it (XEP-0084 §4.2)."""

NICK: Final = "http://jabber.org/protocol/nick"
"""A name (XEP-0172)."""
