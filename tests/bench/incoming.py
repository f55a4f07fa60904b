"""What comes in on a component's stream, as bytes, and what has to come of it.

`KINDS` is what `tests.bench intake` measures, in this order: stanzas as a server passes them on.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

RELAY: Final = "relay.example.test"
HOME: Final = f"home@{RELAY}"
OWN: Final = "example.test"
FAR: Final = "far.test"

AUTHORS: Final = 100
FOLLOWERS: Final = 10_000
STAR: Final = "star"
"""The author whom all of them follow."""

TEXT: Final = ("one two three four five six seven eight nine ten " * 4)[:152]
"""With a number of eight characters behind it, 160."""

FEATURES: Final = (
    "http://jabber.org/protocol/caps",
    "http://jabber.org/protocol/disco#info",
    "urn:xmpp:ping",
    "urn:xmpp:receipts",
)
_NODE: Final = "https://client.example"
_HASHED: Final = "client/phone//Client<" + "".join(f"{each}<" for each in FEATURES)
VER: Final = base64.b64encode(hashlib.sha1(_HASHED.encode()).digest()).decode()
CAPABLE: Final = (
    "<query xmlns='http://jabber.org/protocol/disco#info'>"
    "<identity category='client' type='phone' name='Client'/>"
    + "".join(f"<feature var='{each}'/>" for each in FEATURES)
    + "</query>"
)
"""What stands behind the hash that the followers' clients show (XEP-0115)."""

_SHOWN: Final = (
    f"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{_NODE}' ver='{VER}'/>"
    "<x xmlns='vcard-temp:x:update'><photo/></x>"
)


class Which(Enum):
    """The relays that get it."""

    QUIET = "nobody posts there"
    BUSY = "many posts there"
    STRICT = "everybody has used up his rate there"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of stanza. `make` writes the nth of a round, with a key that it has alone."""

    name: str
    make: Callable[[int, int], str]
    answers: int = 0  # to each
    posts: int = 0  # in the journal that come of each
    few: bool = False  # as many answers and posts as there come, and fewer than stanzas
    gathers: int = 0  # as many are under way at most; 0: no matter how many
    at: Which = Which.QUIET
    part: int = 1  # only one in so many, for it takes long


def author(n: int) -> str:
    return f"author{n % AUTHORS}@{OWN}"


def follower(n: int) -> str:
    return f"follower{n % FOLLOWERS}@{OWN}"


def stranger(n: int) -> str:
    return f"eve{n}@{FAR}"


def chat(sender: str, key: int, kind: str = "chat") -> str:
    return (
        f"<message from='{sender}/phone.x7' to='{HOME}' type='{kind}' id='m{key:08}'>"
        f"<body>{TEXT}{key:08}</body></message>"
    )


def _came_back(sender: str, key: int) -> str:
    """What came back is an answer to a command, say: a post that comes back is not nothing."""
    return (
        f"<message from='{sender}' to='{HOME}' type='error' id='{key:032x}'>"
        f"<body>{TEXT}{key:08}</body><error type='cancel'><service-unavailable "
        "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )


def _without_body(sender: str, key: int, inside: str) -> str:
    return (
        f"<message from='{sender}/phone.x7' to='{HOME}' type='chat' id='n{key:08}'>"
        f"{inside}</message>"
    )


def here(sender: str) -> str:
    """He has logged in."""
    return (
        f"<presence from='{sender}/phone.x7' to='{HOME}'><priority>5</priority>{_SHOWN}</presence>"
    )


def away(sender: str) -> str:
    """He has logged out."""
    return f"<presence from='{sender}/phone.x7' to='{HOME}' type='unavailable'/>"


def probe(sender: str) -> str:
    """His server asks for the presence of whom he follows."""
    return _presence(sender, "probe")


def _presence(sender: str, kind: str) -> str:
    return f"<presence from='{sender}' to='{STAR}@{RELAY}' type='{kind}'/>"


def _question(sender: str, key: int, payload: str) -> str:
    return f"<iq from='{sender}/phone.x7' to='{HOME}' type='get' id='q{key:08}'>{payload}</iq>"


_TYPING: Final = (
    "<composing xmlns='http://jabber.org/protocol/chatstates'/><no-store xmlns='urn:xmpp:hints'/>"
)
_RECEIPT: Final = "<received xmlns='urn:xmpp:receipts' id='1.abcdef'/>"
_PING: Final = "<ping xmlns='urn:xmpp:ping'/>"
_INFO: Final = "<query xmlns='http://jabber.org/protocol/disco#info'/>"

KINDS: Final = (
    Kind("text that came back", lambda n, key: _came_back(follower(n), key)),
    Kind("text in a group chat", lambda n, key: chat(follower(n), key, "groupchat")),
    Kind("chat state", lambda n, key: _without_body(follower(n), key, _TYPING)),
    Kind("receipt", lambda n, key: _without_body(follower(n), key, _RECEIPT)),
    Kind("login", lambda n, _: here(follower(n))),
    Kind("probe", lambda n, _: probe(follower(n)), answers=2),
    Kind(
        "subscription again",
        lambda n, _: _presence(follower(n), "subscribe"),
        answers=2,
        gathers=500,
    ),
    Kind("logout", lambda n, _: away(follower(n))),
    Kind("ping", lambda n, key: _question(follower(n), key, _PING), answers=1),
    Kind("ping of a stranger", lambda n, key: _question(stranger(n), key, _PING), few=True),
    Kind("disco#info", lambda n, key: _question(follower(n), key, _INFO), answers=1),
    Kind("text of a stranger", lambda n, key: chat(stranger(n), key), few=True),
    Kind(
        "text above the rate",
        lambda n, key: chat(author(n), key),
        answers=1,
        gathers=500,
        at=Which.STRICT,
    ),
    Kind(
        "post",
        lambda n, key: chat(author(n), key),
        answers=1,
        posts=1,
        gathers=500,
        at=Which.BUSY,
    ),
    Kind(
        "one author's flood of texts",
        lambda _, key: chat(author(0), key),
        answers=1,
        few=True,
        at=Which.BUSY,
    ),
    Kind("login, posts since the last", lambda n, _: here(follower(n)), part=10, at=Which.BUSY),
    Kind("logout of these", lambda n, _: away(follower(n)), part=10, at=Which.BUSY),
)
