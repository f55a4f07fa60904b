"""A node of an XMPP pubsub service as primary service: each post an item with an Atom entry in it.

An item has the post's own id, so that there is only ever one of it: the service overwrites an item
that is published again. Its subscribers are notified again all the same, which is why even here an
unclear outcome is looked up before a post is sent again.

Questions go through the relay's own stream to its server. Whoever makes the driver gives it a
function `Ask`, since no stanza is made outside `xmpp/`.

What an answer means: a result is done, and an error is not done, but for two that tell nothing: the
service fails (`internal-server-error`), or a server on the way waits in vain for it
(`remote-server-timeout`).

The node is made by a probe that finds none: nothing of anybody is lost by that, and a mistake is
seen before the first post. It keeps as many items as the service allows, is open to everybody, and
notifies of retractions; so a post that is not for everybody is refused.

XEP-0060, XEP-0277, XEP-0472
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.atom import Entry, entry_element, item_uri
from xmpprelay.core.primary import (
    Absent,
    Account,
    Attempt,
    Candidate,
    CannotTell,
    Caps,
    Dedupe,
    File,
    Found,
    Look,
    LookFailed,
    Outcome,
    Probe,
    Reach,
    Result,
    Scope,
    Status,
    Visibility,
)
from xmpprelay.errors import StreamError

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
OWNER: Final = f"{PUBSUB}#owner"
NODE_CONFIG: Final = f"{PUBSUB}#node_config"
DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"
FORM: Final = "jabber:x:data"
STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"

_PUBLIC: Final = frozenset({Visibility.PUBLIC, Visibility.UNLISTED})

_MAX_DETAIL_CHARS: Final = 200

_NEW_NODE: Final[Mapping[str, str]] = {
    "FORM_TYPE": NODE_CONFIG,
    "pubsub#title": "Posts",
    "pubsub#persist_items": "1",
    "pubsub#max_items": "max",
    "pubsub#access_model": "open",
    "pubsub#deliver_payloads": "1",
    "pubsub#notify_retract": "1",
}
"""XEP-0060 §16.4.4"""


class NotSent(Exception):
    """There is no stream to the relay's server now, and no byte of the question has left."""


class Ask(Protocol):
    """How the service is asked."""

    async def __call__(self, to: str, kind: str, payload: Element) -> Element:
        """Send an <iq/> of type `kind` with this payload; gives the <iq/> that answers it.

        The answer is of type result or error. Raises NotSent, TimeoutError when none came in time,
        or StreamError when the stream was lost meanwhile.
        """


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back."""

    condition: str | None  # of an error (RFC 6120 §8.3.3)
    problem: Result | None  # what it means; None: what was asked for is done
    iq: Element


class PubsubPrimary:
    """A node of a pubsub service that the relay's server can reach."""

    def __init__(self, ask: Ask, service: str, node: str) -> None:
        self._ask = ask
        self._service = service
        self._node = node

    async def probe(self, account: Account | None = None) -> Probe:
        """Whether the node is there and takes posts; one that is missing is made."""
        reply = await self._question("get", _pubsub(OWNER, "configure", self._node))
        if reply.condition in _MAY_NOT | _CANNOT:
            # Whoever may publish need not be an owner, who alone sees the configuration.
            query = Element(f"{{{DISCO_INFO}}}query", node=self._node)
            reply = await self._question("get", query)
        if reply.condition == "item-not-found":
            reply = await self._make_node()
        if reply.problem is None or reply.condition == "conflict":  # made by somebody meanwhile
            return self._probe_of_node(_form_of(reply.iq))
        problem = reply.problem
        reach = Reach.AUTH if problem.outcome is Outcome.AUTH else Reach.DOWN
        return Probe(reach, reason=problem.reason, detail=problem.detail)

    async def insert(self, account: Account, status: Status, key: str) -> Result:
        """Publish an item; INSERTED too if it was there, and is now as given. No key is needed."""
        if status.visibility not in _PUBLIC:
            return _result(
                Outcome.REJECTED,
                "visibility",
                "The node is open to everybody, and this post is not for everybody.",
            )
        payload = _pubsub(PUBSUB, "publish", self._node, status.id)
        payload[0][0].append(entry_element(self._entry(status)))
        reply = await self._question("set", payload)
        return reply.problem or Result(Outcome.INSERTED, status.id, self._uri(status.id))

    async def edit(self, account: Account, remote_id: str, status: Status, key: str) -> Result:
        """Publish the item anew."""
        return await self.insert(account, status, key)

    async def delete(self, account: Account, remote_id: str) -> Result:
        """Retract the item, and let its subscribers know."""
        payload = _pubsub(PUBSUB, "retract", self._node, remote_id)
        payload[0].set("notify", "true")
        reply = await self._question("set", payload)
        if reply.condition == "item-not-found":
            return Result(Outcome.INSERTED, remote_id)
        return reply.problem or Result(Outcome.INSERTED, remote_id)

    async def upload(self, account: Account, file: File) -> Result:
        """A node takes no attachments: they stay links (see `Caps.max_media`)."""
        return _result(Outcome.REJECTED, "no_media", "The node takes text without attachments.")

    async def reconcile(self, account: Account, attempt: Attempt) -> Look:
        """Ask for the item of that id; one that the node has let go since is absent too."""
        wanted = attempt.status.id
        reply = await self._question("get", _pubsub(PUBSUB, "items", self._node, wanted))
        if reply.condition == "item-not-found":
            return Absent()
        if reply.condition in _MAY_NOT | _CANNOT_READ:
            return CannotTell("The relay may not read the node: let it, or make it an owner.")
        if reply.problem is not None:
            return LookFailed(reply.problem)
        if all(item.get("id") != wanted for item in reply.iq.iter(f"{{{PUBSUB}}}item")):
            return Absent()
        return Found((Candidate(wanted, self._uri(wanted)),))

    async def aclose(self) -> None:
        """The stream is not the driver's: there is nothing to let go of."""

    async def _question(self, kind: str, payload: Element) -> _Reply:
        """What the service answers, and what it means where it does not do what is asked."""
        try:
            iq = await self._ask(self._service, kind, payload)
        except NotSent:
            said = "The relay has no connection to its XMPP server now."
            return _Reply(None, _result(Outcome.RETRY, "no_stream", said), payload)
        except TimeoutError:
            said = f"{self._service} has not answered in time."
            return _Reply(None, _result(Outcome.UNKNOWN, "timeout", said), payload)
        except StreamError:
            said = "The connection to the XMPP server was lost before an answer came."
            return _Reply(None, _result(Outcome.UNKNOWN, "reset", said), payload)
        condition, wait = _error_of(iq)
        problem = None if condition is None else self._not_done(condition, wait=wait)
        return _Reply(condition, problem, iq)

    def _not_done(self, condition: str, *, wait: bool) -> Result:
        """What an error means (RFC 6120 §8.3.3, XEP-0060 §7.1.3)."""
        reason = condition.replace("-", "_")
        said = f"{self._service} says {condition}"
        if condition == "item-not-found":
            said = f"There is no node {self._node} at {self._service}: the next probe makes it."
            return _result(Outcome.RETRY, "no_node", said)
        if condition in _MAY_NOT:
            said += (
                ": let the relay's domain make nodes there, or make the node and let it publish."
            )
            return _result(Outcome.AUTH, reason, said)
        if condition in _TELLS_NOTHING:
            return _result(Outcome.UNKNOWN, reason, f"{said}: look into its log.")
        if condition in _CANNOT:
            return _result(Outcome.RETRY, reason, f"{said}: name a pubsub service that runs.")
        if condition in _BAD_POST and not wait:
            return _result(Outcome.REJECTED, reason, f"{said} to this post.")
        return _result(Outcome.RETRY, reason, f"{said}.")

    async def _make_node(self) -> _Reply:
        """Make the node as it is best, or else as the service has it (XEP-0060 §8.1.3)."""
        payload = _pubsub(PUBSUB, "create", self._node)
        configure = SubElement(payload, f"{{{PUBSUB}}}configure")
        form = SubElement(configure, f"{{{FORM}}}x", type="submit")
        for name, value in _NEW_NODE.items():
            field = SubElement(form, f"{{{FORM}}}field", var=name)
            SubElement(field, f"{{{FORM}}}value").text = value
        form[0].set("type", "hidden")
        reply = await self._question("set", payload)
        if reply.condition in _BAD_POST:
            return await self._question("set", _pubsub(PUBSUB, "create", self._node))
        return reply

    def _probe_of_node(self, form: Mapping[str, str]) -> Probe:
        """What the node's configuration, as far as it may be seen, says of it."""
        if form.get("pubsub#persist_items") in ("0", "false"):
            said = f"The node {self._node} keeps nothing: turn on pubsub#persist_items."
            return Probe(Reach.DOWN, reason="not_kept", detail=said[:_MAX_DETAIL_CHARS])
        caps = Caps("pubsub", dedupe=Dedupe.NATURAL, backdate=True, edits=_PUBLIC, shows=_PUBLIC)
        kept = []
        if (most := form.get("pubsub#max_items", "max")).isdecimal():
            kept.append(f"the newest {most} only (pubsub#max_items)")
        if (expire_s := form.get("pubsub#item_expire", "0")).isdecimal() and int(expire_s):
            kept.append(f"each for {expire_s} seconds only (pubsub#item_expire)")
        if not kept:
            return Probe(Reach.UP, caps)
        said = f"Of the posts the node keeps {', and '.join(kept)}."
        return Probe(Reach.UP, caps, reason="keeps_less", detail=said)

    def _entry(self, status: Status) -> Entry:
        parent = status.in_reply_to
        return Entry(
            id=status.atom_id,
            text=status.text,
            name=status.handle,
            jid=status.author,
            published=status.published,
            updated=status.updated,
            language=status.language,
            link=self._uri(status.id),
            in_reply_to=None if parent is None else self._uri(parent),
        )

    def _uri(self, item: str) -> str:
        return item_uri(self._service, self._node, item)


# What a service says when it does not do something: the conditions of RFC 6120 §8.3.3.

_MAY_NOT: Final = frozenset(
    {
        *("forbidden", "not-authorized", "not-allowed"),
        *("registration-required", "subscription-required", "payment-required"),
    }
)
_CANNOT: Final = frozenset(
    {
        *("feature-not-implemented", "service-unavailable", "remote-server-not-found"),
        *("recipient-unavailable", "gone", "redirect"),
    }
)
_CANNOT_READ: Final = frozenset({"feature-not-implemented"})
_TELLS_NOTHING: Final = frozenset(
    {"internal-server-error", "remote-server-timeout", "undefined-condition"}
)
_BAD_POST: Final = frozenset({"bad-request", "not-acceptable", "policy-violation"})


def _error_of(iq: Element) -> tuple[str | None, bool]:
    """The condition of an error, and whether it says to wait; None: it is a result."""
    if iq.get("type") != "error":
        return None, False
    tags = [child.tag for child in iq.iterfind("{*}error/*")]
    names = [tag.partition("}")[2] for tag in tags if tag.startswith(f"{{{STANZA_ERRORS}}}")]
    conditions = [name for name in names if name != "text"]
    wait = any(error.get("type") == "wait" for error in iq.iterfind("{*}error"))
    return conditions[0] if conditions else "undefined-condition", wait


def _form_of(iq: Element) -> Mapping[str, str]:
    """The values of the form in an answer, by their names; of several values, the first."""
    fields = iq.iter(f"{{{FORM}}}field")
    return {field.get("var", ""): field.findtext(f"{{{FORM}}}value", "") for field in fields}


def _pubsub(namespace: str, verb: str, node: str, item: str | None = None) -> Element:
    """A question about a node, or about one item of it."""
    payload = Element(f"{{{namespace}}}pubsub")
    inner = SubElement(payload, f"{{{namespace}}}{verb}", node=node)
    if item is not None:
        SubElement(inner, f"{{{namespace}}}item", id=item)
    return payload


def _result(outcome: Outcome, reason: str, detail: str) -> Result:
    scope = Scope.POST if outcome is Outcome.REJECTED else Scope.DRIVER
    return Result(outcome, scope=scope, reason=reason, detail=detail[:_MAX_DETAIL_CHARS])
