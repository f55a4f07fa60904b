"""What is asked of the pubsub service in the tests, and what its answers and events say."""

from typing import Final
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from tests.integration.clients import Person, Stanza

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
OWNER: Final = f"{PUBSUB}#owner"
EVENT: Final = f"{PUBSUB}#event"
ERRORS: Final = f"{PUBSUB}#errors"
ATOM: Final = "http://www.w3.org/2005/Atom"
THREAD: Final = "http://purl.org/syndication/thread/1.0"
RSM: Final = "http://jabber.org/protocol/rsm"
DATA: Final = "jabber:x:data"
MICROBLOG: Final = "urn:xmpp:microblog:0"


def pubsub(inside: str, namespace: str = PUBSUB) -> str:
    return f"<pubsub xmlns='{namespace}'>{inside}</pubsub>"


def entry(text: str, inside: str = "") -> str:
    return (
        f"<entry xmlns='{ATOM}' xmlns:thr='{THREAD}'><title>{escape(text)}</title>{inside}</entry>"
    )


def publish(payload: str, item: str | None = None, node: str = MICROBLOG, options: str = "") -> str:
    named = "" if item is None else f" id={quoteattr(item)}"
    return pubsub(
        f"<publish node={quoteattr(node)}><item{named}>{payload}</item></publish>{options}"
    )


def retract(item: str, node: str = MICROBLOG) -> str:
    return pubsub(f"<retract node={quoteattr(node)}><item id={quoteattr(item)}/></retract>")


def items(inside: str = "", node: str = MICROBLOG, page: str = "", **attributes: str) -> str:
    written = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
    paged = f"<set xmlns='{RSM}'>{page}</set>" if page else ""
    return pubsub(f"<items node={quoteattr(node)}{written}>{inside}</items>{paged}")


def subscribe(jid: str, node: str = MICROBLOG, options: str = "") -> str:
    return pubsub(f"<subscribe node={quoteattr(node)} jid={quoteattr(jid)}/>{options}")


def unsubscribe(jid: str, node: str = MICROBLOG) -> str:
    return pubsub(f"<unsubscribe node={quoteattr(node)} jid={quoteattr(jid)}/>")


def form(form_type: str, kind: str = "submit", **fields: str) -> str:
    written = "".join(
        f"<field var='pubsub#{name}'><value>{value}</value></field>"
        for name, value in fields.items()
    )
    return (
        f"<x xmlns='{DATA}' type='{kind}'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{form_type}</value></field>{written}</x>"
    )


def body_option(value: str) -> str:
    """The options of a subscription, as they stand beside a <subscribe/>."""
    chosen = form(f"{PUBSUB}#subscribe_options", include_body=value)
    return f"<options node='{MICROBLOG}'>{chosen}</options>"


def texts(answer: Stanza) -> dict[str, str]:
    """The items of an answer or an event, in order: id -> text."""
    return {
        item.get("id", ""): item.findtext(f"{{{ATOM}}}entry/{{{ATOM}}}content", "")
        for item in answer.xml.iter()
        if item.tag.endswith("}item") and len(item)
    }


def the_entry(stanza: Stanza) -> Element:
    found = stanza.xml.find(f".//{{{ATOM}}}entry")
    assert found is not None, f"no entry in {stanza}"
    return found


def specific(answer: Stanza) -> str | None:
    """The condition of XEP-0060's own in an error."""
    error = answer.child("error")
    for child in [] if error is None else error:
        if child.tag.startswith(f"{{{ERRORS}}}"):
            return child.tag.rpartition("}")[2]
    return None


def is_event(stanza: Stanza) -> bool:
    return stanza.kind == "message" and stanza.has("event", EVENT)


async def published(author: Person, handle: str, text: str, item: str | None = None) -> str:
    """Publish a post and give the id that the result says."""
    answer = await author.asks(author.author(handle), publish(entry(text), item), "set")
    assert answer.type == "result", answer
    found = answer.xml.find(f".//{{{PUBSUB}}}item")
    assert found is not None, answer
    return found.get("id", "")
