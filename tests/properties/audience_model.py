"""Who gets a post, said again in the plainest way: the oracle of the tests of the audience.

It knows the same world as the graph, as sets of pairs, and shares no code with the product.
"""

from dataclasses import dataclass, field


@dataclass
class Plain:
    """A world as sets."""

    follows: dict[tuple[int, int], int] = field(default_factory=dict)  # (who, whom) -> since
    blocks: set[tuple[int, int]] = field(default_factory=set)
    mutes: dict[tuple[int, int], str] = field(default_factory=dict)  # -> "", "all", "boosts"
    protected: set[int] = field(default_factory=set)
    replies: dict[int, str] = field(default_factory=dict)
    mentions: dict[int, str] = field(default_factory=dict)


@dataclass
class Entry:
    """A post, a boost or a direct message."""

    number: int
    author: int
    kind: str = "post"
    targets: tuple[int, ...] = ()
    mentions: tuple[int, ...] = ()
    answers: bool = False  # its first target wrote the post that it answers
    shown: "Entry | None" = None  # of a boost
    before: tuple[int, ...] = ()  # who boosted the same in the day before
    deleted: bool = False
    mutes: dict[tuple[int, int], str] | None = None  # when it was made; None: as they are now


def sees(w: Plain, p: Entry, f: int) -> bool:
    """Whether there is such an entry for somebody, whatever he does to see it."""
    s = p.shown or p
    others, named = {p.author, s.author} - {f}, {*s.targets, *s.mentions} - {f}
    if p.deleted or s.deleted:
        return False
    if any((f, a) in w.blocks or (a, f) in w.blocks for a in others):
        return False
    if f != s.author and any((f, n) in w.blocks for n in named):
        return False
    if f != s.author and s.targets and (s.targets[0], f) in w.blocks:
        return False
    if s.kind == "direct":
        return f in (s.author, *s.targets)
    return not any(a in w.protected and (f, a) not in w.follows for a in others)


def reads(w: Plain, p: Entry, f: int) -> bool:
    """Whether somebody who asks is shown it; his post that others boost is shown as his own."""
    return sees(w, p, f) and (p.author == f or p.shown is None or p.shown.author != f)


def gets(w: Plain, p: Entry, f: int) -> bool:
    """Whether somebody gets an entry sent."""
    s = p.shown or p
    authors, named = {p.author, s.author}, {*s.targets, *s.mentions} - {f}
    mutes = w.mutes if p.mutes is None else p.mutes
    if f in authors or not sees(w, p, f):
        return False
    mute = mutes.get((f, p.author))
    if p.kind == "direct":
        return mute != "all"
    if p.kind == "post" and f in p.targets + p.mentions and addressed(w, p, f, mute):
        return True
    since = w.follows.get((f, p.author))
    if since is None or since > p.number or (mute is not None and mute != "boosts"):
        return False
    if any(mutes.get((f, x)) not in (None, "boosts") for x in authors):
        return False
    if any((f, n) in mutes for n in named):
        return False
    if p.kind == "boost":
        if mute == "boosts" or gets(w, s, f):
            return False
        return not any(
            (f, b) in w.follows
            and w.follows[f, b] <= p.number
            and (f, b) not in mutes
            and not {(f, b), (b, f)} & w.blocks
            for b in p.before
        )
    if not p.targets or f in p.targets or p.targets[0] == p.author:
        return True
    wants = w.replies.get(f, "following")
    return wants == "all" or (wants == "following" and (f, p.targets[0]) in w.follows)


def addressed(w: Plain, p: Entry, f: int, mute: str | None) -> bool:
    """Whether somebody who is named gets it because of that."""
    wants = w.mentions.get(f, "all")
    allowed = wants == "all" or (wants == "following" and (f, p.author) in w.follows)
    if mute == "all":
        return False
    if f in p.targets:
        return (p.answers and f == p.targets[0]) or allowed
    return mute != "" and allowed
