"""The audience function: who gets a post, and why or why not.

One decision for every outlet: the live fan-out, the return of somebody who was away, digests, and
what people ask for by `last`, `timeline`, `show` and `find`; feeds and pubsub as well. It is asked
at the moment of sending or serving, so that a block made a second ago holds for what is queued. It
is a plain function over the graph: no I/O, no clock, no memory.

Read it as a table. A rule says no, or yes, or has nothing to say; the first that speaks decides.

1. Who may see it at all (`_hidden`): holds for every outlet.
2. What is addressed to him (`_addressed`): direct messages, replies to him, mentions.
3. What he follows (`_followed`): follows, boosts, the filter of replies, mutes, `off`, caps and
   digests. What he asks for himself does not go through it.

The numbers are those of docs/semantics.md.
"""

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import CHANGES, Kind, Mode, Person, Post
from xmpprelay.core.wishes import Mute, Scope, Sort, Whose


class Outlet(Enum):
    """Where a post is to be shown to a person."""

    LIVE = "live"  # sent to him, now or on his return
    DIGEST = "digest"  # in a digest: what LIVE leaves to it, and nothing else
    TIMELINE = "timeline"  # his own stream, read by himself: caps, digests, `off` do not count
    ASKED = "asked"  # posts of one author, or one post, that he asks for


class Why(Enum):
    """As what a post comes to a person; who qualifies twice gets it as the first (S2.4)."""

    DIRECT = "direct"
    TARGET = "target"  # a reply to him, or he is in its leading run
    MENTION = "mention"
    FOLLOW = "follow"
    BOOST = "boost"
    CHANGE = "change"  # an edit or a deletion of what he has
    ASKED = "asked"


_NOT_PERSONAL: Final = frozenset({Outlet.DIGEST, Outlet.TIMELINE})

PERSONAL: Final = frozenset({Why.DIRECT, Why.TARGET, Why.MENTION, Why.CHANGE})
"""What always comes on a return, and what a person's server may keep for him (S1.4, S11.2)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, with the number of the rule and its reason as one clause for people.

    `hidden`: for this person there is no such post; he is never told the rule (S6.1).
    """

    yes: bool
    rule: str
    reason: str
    why: Why = Why.FOLLOW
    hidden: bool = False


def _yes(rule: str, reason: str, why: Why) -> Decision:
    return Decision(True, rule, reason, why)


def _no(rule: str, reason: str) -> Decision:
    return Decision(False, rule, reason)


def _never(rule: str, reason: str) -> Decision:
    return Decision(False, rule, reason, hidden=True)


OWN_POST: Final = _no("S1.7", "it is your own post")
OWN_POST_READ: Final = _yes("S1.7", "it is your own post", Why.ASKED)
DELETED: Final = _never("S9.2", "it was deleted")
BARRED: Final = _never("S6.4", "the operator has blocked one of you")
CUT_OFF: Final = _never("S6.1", "one of you blocks the other")
CUT_OFF_NAMED: Final = _never("S2.5", "you block somebody whom it names, or are blocked by them")
LETTER: Final = _no("S4.2", "it is a direct message")
OTHERS_LETTER: Final = _never("S4.2", "it is a direct message to somebody else")
PROTECTED: Final = _never("S2.9", "its author is protected, and you are no approved follower")

DIRECT: Final = _yes("S4.1", "it is a direct message to you", Why.DIRECT)
TO_YOU: Final = _yes("S2.1", "it is a reply to you", Why.TARGET)
TO_YOUR_POST: Final = _yes("S2.5", "it is a reply to a post of yours", Why.TARGET)
NAMES_YOU: Final = _yes("S2.3", "it names you", Why.MENTION)

MAY_READ: Final = _yes("S6.2", "you may read it", Why.ASKED)
NO_FOLLOWER: Final = _no("S2.2", "you do not follow the author")
FOLLOWED_LATER: Final = _no("S5.1", "you followed the author after this post")
TAKEN_OVER: Final = _no("S5.1", "it was posted on another relay, before it was taken over here")
REFUSED_LATELY: Final = _no("S6.6", "your server refuses what comes from this author")
OTHERS_REPLIES: Final = _no("S2.2", "it is a reply to somebody whom you do not follow")
NO_REPLIES: Final = _no("S2.2", "you want no replies to others")
MUTED: Final = _no("S7", "you mute the author")
MUTED_BOOSTS: Final = _no("S7", "you mute what this person boosts")
MUTED_NAMED: Final = _no("S2.5", "you mute somebody whom it names")
MUTED_WORDS: Final = _no("S7", "you mute a word or a tag in it")
HAVE_ORIGINAL: Final = _no("S8.1", "you get the post itself")
BOOSTED_BEFORE: Final = _no("S8.1", "somebody you follow boosted it in the day before")
OFF: Final = _no("S10.1", "you had switched it off when it was posted")
OVER_THE_CAP: Final = _no("S10.3", "it is more than you want of this author")
FOR_THE_DIGEST: Final = _no("S10.3", "it comes with your digest")
NOT_FOR_THE_DIGEST: Final = _no("S10.3", "it came by itself")
FOLLOWS: Final = _yes("S2.2", "you follow the author", Why.FOLLOW)
BOOSTED: Final = _yes("S8.1", "somebody you follow boosted it", Why.BOOST)
CHANGED: Final = _yes("S9.1", "you were sent the post that it changes", Why.CHANGE)
TAKEN_BACK: Final = _yes("S9.2", "you were sent the post that it takes back", Why.CHANGE)


def decide(graph: Graph, post: Post, person: int, outlet: Outlet = Outlet.LIVE) -> Decision:
    """Whether a person gets an entry of the journal, with the rule that decides (S2-S8, S10).

    Of an edit or a deletion it says whether he may have the post that is changed; whether he was
    sent that post before, his standing knows.
    """
    if post.kind in CHANGES:
        if outlet is Outlet.DIGEST:
            return NOT_FOR_THE_DIGEST
        return _decide_change(graph, post, person)
    if no := _hidden(graph, post, graph.person(person)):
        return no
    if own := _own(post, person, outlet):
        return own
    if outlet is Outlet.ASKED:
        return MAY_READ
    if post.atom_id is not None and outlet is not Outlet.TIMELINE:
        return TAKEN_OVER
    named = _addressed(graph, post, person)
    if named is not None and named.yes and outlet in _NOT_PERSONAL:
        return NOT_FOR_THE_DIGEST if outlet is Outlet.DIGEST else _in_timeline(post, named)
    return named or _followed(graph, post, person, outlet)


def may_read(graph: Graph, post: Post, jid: str) -> bool:
    """Whether a bare JID, known or not, may read a post that it asks for (S6.2)."""
    person = graph.by_jid(jid)
    if person is not None:
        return decide(graph, post, person.id, Outlet.ASKED).yes
    return post.kind not in CHANGES and not _hidden(graph, post, Person(_NOBODY, jid, None))


_NOBODY: Final = -1
"""The id of somebody whom the relay does not know: he follows nobody, and blocks nobody."""


def _in_timeline(post: Post, named: Decision) -> Decision:
    return LETTER if post.kind is Kind.DIRECT else named


def _decide_change(graph: Graph, change: Post, person: int) -> Decision:
    """S9.1: an edit goes where the post went; somebody newly named gets it as a mention."""
    changed = change.original
    if changed is None or person == change.author:
        return OWN_POST
    if change.kind is Kind.DELETE:
        hidden = _out_of_reach(graph, changed, graph.person(person))
        before = hidden or _sent_as_posted(graph, _undeleted(changed), person)
        return TAKEN_BACK if before.yes else before
    if hidden := _hidden(graph, changed, graph.person(person)):
        return hidden
    sent = _sent_as_posted(graph, changed, person)
    if sent.yes:
        return CHANGED
    return _addressed(graph, change, person) or sent


def _undeleted(post: Post) -> Post:
    """A deleted post as it was routed: a boost went only to those who had not the post itself."""
    shown = post.original
    return replace(
        post, deleted=False, original=None if shown is None else replace(shown, deleted=False)
    )


def _sent_as_posted(graph: Graph, post: Post, person: int) -> Decision:
    if post.atom_id is not None:
        return TAKEN_OVER
    return _addressed(graph, post, person) or _followed(graph, post, person, Outlet.LIVE)


# --- 1. Who may see it at all ---------------------------------------------------------------------


def _hidden(graph: Graph, post: Post, person: Person) -> Decision | None:
    """No, for every outlet; or nothing to say."""
    if post.deleted or post.content.deleted:
        return DELETED
    return _out_of_reach(graph, post, person)


def _out_of_reach(graph: Graph, post: Post, person: Person) -> Decision | None:
    shown, who = post.content, person.id
    authors = (post.author,) if shown is post else (post.author, shown.author)
    if who != shown.author:  # nor does who boosted it see it past a block
        if cut := _cut_off(graph, authors, shown, person):
            return cut
    elif who != post.author and graph.cut(who, post.author):
        return CUT_OFF  # somebody's own post, boosted by one whom he is cut off from
    if shown.kind is Kind.DIRECT and who != shown.author and who not in shown.targets:
        return OTHERS_LETTER
    for author in authors:
        if who != author and graph.protected(author):
            since = graph.follows_since(who, author)
            if since is None and shown.kind is not Kind.DIRECT:
                return PROTECTED
    return None


def _cut_off(
    graph: Graph, authors: tuple[int, ...], shown: Post, person: Person
) -> Decision | None:
    """S6.1 for author and booster, S2.5 for everybody who is named, S6.4 for the operator."""
    blocks = graph.blocks
    if blocks.none_by(OPERATOR, person.id, *authors, *shown.targets[:1]):
        return None  # as nearly always; nobody else's blocks are asked about below
    posters = [graph.person(author) for author in authors]
    if any(map(blocks.barred, (person, *posters))):
        return BARRED
    for poster in posters:
        if blocks.cut(person, poster):
            return CUT_OFF
    for number, named in enumerate(shown.addressed):
        other = graph.person(named)
        if named == person.id:
            continue
        if blocks.has(person.id, other.jid):
            return CUT_OFF_NAMED
        if number == 0 and shown.targets and blocks.has(named, person.jid):
            return CUT_OFF_NAMED
    return None


def _own(post: Post, person: int, outlet: Outlet) -> Decision | None:
    """S1.7: never sent to its author, nor the boost of his own post; he may read it."""
    if person == post.author:
        return OWN_POST_READ if outlet in (Outlet.ASKED, Outlet.TIMELINE) else OWN_POST
    if person == post.content.author:
        return OWN_POST
    return None


# --- 2. What is addressed to him ------------------------------------------------------------------


def _addressed(graph: Graph, post: Post, person: int) -> Decision | None:
    """Yes, for who is named; nothing to say where his settings keep it to what he follows."""
    if post.kind is Kind.BOOST or person not in post.addressed:
        return None
    mute = graph.wishes(person).mute_of(post.author, post.created)
    if post.kind is Kind.DIRECT:
        return MUTED if _silences_all(mute) else DIRECT
    if _silences_all(mute):
        return MUTED
    if person in post.targets:
        if post.parent is not None and person == post.targets[0]:
            return TO_YOUR_POST
        return TO_YOU if _may_mention(graph, post, person) else None
    if mute is not None and mute.scope is Scope.POSTS:
        return MUTED
    return NAMES_YOU if _may_mention(graph, post, person) else None


def _silences_all(mute: Mute | None) -> bool:
    return mute is not None and mute.scope is Scope.ALL


def _may_mention(graph: Graph, post: Post, person: int) -> bool:
    """S2.3: the setting `mentions`; without one, new authors reach only those who follow them."""
    whose = graph.wishes(person).mentions
    if whose is None:
        whose = Whose.FOLLOWING if post.new_author else Whose.ALL
    if whose is Whose.FOLLOWING:
        return graph.follows_since(person, post.author) is not None
    return whose is Whose.ALL


# --- 3. What he follows ---------------------------------------------------------------------------


def _followed(graph: Graph, post: Post, person: int, outlet: Outlet) -> Decision:
    since = graph.follows_since(person, post.author)
    if since is None:
        return NO_FOLLOWER
    if since > post.number:
        return FOLLOWED_LATER
    if outlet is Outlet.LIVE and _refused(graph, post, person):
        return REFUSED_LATELY
    rules = _boosted if post.kind is Kind.BOOST else _reply
    return rules(graph, post, person) or _filtered(graph, post, person, outlet)


def _refused(graph: Graph, post: Post, person: int) -> bool:
    """S6.6: it is the author's address that is refused, so what comes from home comes."""
    if not graph.refuses(person, post.author):
        return False
    follow = graph.follow(person, post.author)
    return follow is not None and follow.mode is not Mode.HOME


def _boosted(graph: Graph, boost: Post, person: int) -> Decision | None:
    """S8.1: not twice, and not to who gets the post itself."""
    shown = boost.content
    wishes = graph.wishes(person)
    if decide(graph, shown, person).yes:
        return HAVE_ORIGINAL
    mute = wishes.mute_of(boost.author, boost.created)
    if mute is not None and mute.scope is Scope.BOOSTS:
        return MUTED_BOOSTS
    for booster in boost.boosted_before:
        since = graph.follows_since(person, booster)
        if since is None or since > boost.number or graph.cut(person, booster):
            continue
        if wishes.mute_of(booster, boost.created) is None:
            return BOOSTED_BEFORE
    return None


def _reply(graph: Graph, post: Post, person: int) -> Decision | None:
    """S2.2: the filter of replies, by the setting `replies`."""
    if not post.targets or person in post.targets or post.targets[0] == post.author:
        return None
    match graph.wishes(person).replies:
        case Whose.ALL:
            return None
        case Whose.NONE:
            return NO_REPLIES
        case Whose.FOLLOWING:
            follows = graph.follows_since(person, post.targets[0]) is not None
            return None if follows else OTHERS_REPLIES


def _filtered(graph: Graph, post: Post, person: int, outlet: Outlet) -> Decision:
    """S7 and S10: what he has chosen to see less of."""
    wishes, shown = graph.wishes(person), post.content
    if not wishes.plain:
        for author in {post.author, shown.author}:
            mute = wishes.mute_of(author, post.created)
            if mute is not None and mute.scope is not Scope.BOOSTS:
                return MUTED
        for named in shown.addressed:
            if named != person and wishes.mute_of(named, post.created) is not None:
                return MUTED_NAMED
        for mute in wishes.mutes:
            if _mutes_text(mute, shown.text, post):
                return MUTED_WORDS
    if outlet is Outlet.TIMELINE:
        return _comes(post)
    if wishes.is_off(post.author, post.created):
        return OFF
    cap = wishes.caps.get(post.author)
    if cap is not None and (post.nth_day if cap.daily else post.nth_hour) >= cap.count:
        return OVER_THE_CAP
    digest = wishes.digest_for(post.author, post.number, surplus=post.surplus)
    if outlet is Outlet.DIGEST:
        return _comes(post) if digest is not None else NOT_FOR_THE_DIGEST
    return _comes(post) if digest is None else FOR_THE_DIGEST


def _comes(post: Post) -> Decision:
    return BOOSTED if post.kind is Kind.BOOST else FOLLOWS


def _mutes_text(mute: Mute, text: str, post: Post) -> bool:
    if mute.sort is Sort.PERSON or not mute.span.covers(post.created):
        return False
    mark = "#" if mute.sort is Sort.TAG else ""
    return re.search(rf"(?<!\w){mark}{re.escape(mute.value)}(?!\w)", text, re.I) is not None


# --- The fan-out ----------------------------------------------------------------------------------


class Audience:
    """Whom a post in one lane goes to, kept until something changes: what the fan-out walks.

    `people` are its candidates, ascending. They are those of the moment at which it was posted: who
    follows later has no claim to it.
    """

    __slots__ = (
        "_allowed",
        "_followers",
        "_graph",
        "_plain",
        "_post",
        "_revision",
        "_simple",
        "people",
    )

    def __init__(self, graph: Graph, post: Post, lane: str) -> None:
        self.people = graph.candidates(post, lane)
        self._graph = graph
        self._post = post
        self._simple = post.kind is Kind.POST and not post.deleted and not post.surplus
        self._plain = self._simple and not post.addressed
        self._revision = -1
        self._followers = -1
        self._allowed: tuple[int, ...] = ()

    def allowed(self) -> tuple[int, ...]:
        """Those of them who get it now, ascending."""
        graph = self._graph
        changes = graph.followed_at(self._post.author) if self._plain else graph.follow_revision
        if self._revision != graph.revision or self._followers != changes:
            self._revision, self._followers = graph.revision, changes
            self._allowed = self._routed()
        return self._allowed

    def _routed(self) -> tuple[int, ...]:
        graph, post = self._graph, self._post
        found = graph.reach(post) if self._simple else None
        if found is None:
            return tuple(p for p in self.people if decide(graph, post, p).yes)
        reached, doubtful = found
        asked = doubtful.union(post.addressed)
        coming = reached - asked
        coming.update(p for p in asked if decide(graph, post, p).yes)
        return tuple(filter(coming.__contains__, self.people))
