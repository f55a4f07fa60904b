"""The names of XEP-0060: namespaces, features, and the conditions of its own errors."""

from typing import Final
from xml.etree.ElementTree import Element

from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.errors import RelayError
from xmpprelay.xmpp.paging import RSM
from xmpprelay.xmpp.stanzas import tag

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
OWNER: Final = f"{PUBSUB}#owner"
EVENT: Final = f"{PUBSUB}#event"
ERRORS: Final = f"{PUBSUB}#errors"
NODE_CONFIG: Final = f"{PUBSUB}#node_config"
META_DATA: Final = f"{PUBSUB}#meta-data"
PUBLISH_OPTIONS: Final = f"{PUBSUB}#publish-options"
SUBSCRIBE_OPTIONS: Final = f"{PUBSUB}#subscribe_options"
SOCIAL_FEED: Final = "urn:xmpp:pubsub-social-feed:1"

COMMENTS: Final = f"{MICROBLOG}:comments/"
"""Begins the name of the node of the answers to a post; its item id follows (XEP-0277 §3)."""

FEATURES: Final = frozenset(
    f"{PUBSUB}#{name}"
    for name in (
        "access-authorize",
        "access-open",
        "config-node",
        "delete-items",
        "item-ids",
        "filtered-notifications",
        "manage-subscriptions",
        "member-affiliation",
        "meta-data",
        "modify-affiliations",
        "outcast-affiliation",
        "persistent-items",
        "publish",
        "publish-options",
        "retract-items",
        "retrieve-affiliations",
        "retrieve-default",
        "retrieve-default-sub",
        "retrieve-items",
        "retrieve-subscriptions",
        "rsm",
        "subscribe",
        "subscription-notifications",
        "subscription-options",
    )
) | {PUBSUB, SOCIAL_FEED, MICROBLOG, RSM}
"""What is done at the address of an author (XEP-0060 §10, XEP-0059 §4)."""


class PubsubError(RelayError):
    """An error with a condition of XEP-0060's own, if there is one, beside that of RFC 6120."""

    def __init__(
        self,
        condition: str,
        specific: str,
        sentence: str,
        *,
        feature: str | None = None,
        payload: Element | None = None,
    ) -> None:
        super().__init__(sentence)
        self.condition = condition
        self.type = _TYPES[condition]
        self.specific = tag(specific, ERRORS) if specific else None
        self.feature = feature  # which is not supported
        self.payload = payload  # comes back with it


_TYPES: Final = {
    "bad-request": "modify",
    "conflict": "cancel",
    "feature-not-implemented": "cancel",
    "forbidden": "auth",
    "item-not-found": "cancel",
    "not-acceptable": "modify",
    "not-allowed": "cancel",
    "not-authorized": "auth",
    "policy-violation": "wait",
    "resource-constraint": "wait",
    "unexpected-request": "cancel",
}
"""The type of each error, as the examples of XEP-0060 have it."""


def unsupported(feature: str, sentence: str) -> PubsubError:
    """Something of XEP-0060 that is not done here."""
    return PubsubError("feature-not-implemented", "unsupported", sentence, feature=feature)


def node_of(element: Element) -> str:
    """The node that a request is about; PubsubError if it names none."""
    node = element.get("node", "")
    if not node:
        raise PubsubError("bad-request", "nodeid-required", "Say which node: its name is missing.")
    return node


def no_such_node() -> PubsubError:
    """There is no such node at this address."""
    return PubsubError("item-not-found", "", "There is no such node here.")
