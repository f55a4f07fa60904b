"""What an author is told, unasked, of a post that does not go as he meant it (S14.11).

Each sentence says what he can do. What is so with all posts of a kind, such as answers to what is
not for the primary, is said once in a life. Pure: when and to whom it is said, `Wishes` knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from xmpprelay.core.insertion import (
    CANNOT_TELL,
    ELSEWHERE,
    PARENT,
    PARENT_GONE,
    PARENT_NOT_THERE,
    TOO_OLD,
    Act,
    Head,
    Insertion,
    Rules,
    State,
)
from xmpprelay.core.primary import MENTIONS_OTHERS
from xmpprelay.core.text import short_id
from xmpprelay.trickle.announcing import span

SERVICE: Final = "The service behind this relay"

NAMED: Final = 5
"""Posts that are named in one line."""


class Kind(Enum):
    """What is told together, in one line."""

    STOPPED = "stopped"  # held, parked, refused
    WAITS = "waits"  # for what it answers
    LOST = "lost"  # with what it answers
    ALONE = "alone"  # inserted without its thread
    NAMES = "names"  # others there than were meant


@dataclass(frozen=True, slots=True)
class Telling:
    """One thing that an author is told of one post."""

    kind: Kind
    sentence: str
    once: str = ""  # what is said once in his life; empty: of each post


def telling(head: Head, before: Insertion, row: Insertion, rules: Rules) -> Sequence[Telling]:
    """What the author is told of a row that was `before`; `head` is what was known of it then."""
    name = f"#{short_id(row.post)}"
    parent = "" if head.post.parent is None else f"#{short_id(head.post.parent)}"
    match row.state:
        case State.HELD | State.PARKED | State.REFUSED:
            return (why_stopped(row, parent),)
        case State.QUEUED if row.reason == PARENT:
            ends = "you are asked" if rules.refused_parent == "hold" else "it goes alone"
            return (
                Telling(
                    Kind.WAITS,
                    f"{name} waits until {parent}, which it answers, is inserted: for "
                    f"{span(rules.reply_wait)} at most, then {ends}. What you post later waits "
                    f"behind it; `drop {name}` takes it out.",
                ),
            )
        case State.CANCELLED if row.reason == PARENT_GONE:
            return (
                Telling(
                    Kind.LOST,
                    f"{name} is not inserted, since {parent}, which it answers, was deleted or "
                    "taken out. Your followers have it; to have it there, post it anew, not as an "
                    "answer.",
                ),
            )
        case State.CANCELLED if row.reason == PARENT_NOT_THERE:
            return (
                Telling(
                    Kind.LOST,
                    f"{name} is not inserted, since {parent}, which it answers, is not for the "
                    "service behind this relay; so it is with all such answers. Your followers "
                    "have it; to have it there, post it anew, not as an answer.",
                    once="answer not inserted",
                ),
            )
        case State.INSERTED if row.act is Act.INSERT:
            return (*_alone(head, before, name, parent), *_names(row, name))
    return ()


def _alone(head: Head, before: Insertion, name: str, parent: str) -> Sequence[Telling]:
    """Of an answer that was inserted without its thread."""
    sent = before.status
    if not parent or sent is None or sent.in_reply_to is not None or before.part > 1:
        return ()
    there = head.parent_row is not None and head.parent_row.state is State.INSERTED
    if there:  # as it is with everybody whose account is not where this one is
        return (
            Telling(
                Kind.ALONE,
                f"{name} was inserted alone, with the address of {parent}, which it answers, since "
                "that is elsewhere; so it is with all such answers. "
                f"`del {name}` takes it back everywhere.",
                once="answer alone",
            ),
        )
    return (
        Telling(
            Kind.ALONE,
            f"{name} was inserted alone, with the address of {parent}, which it answers, since "
            f"that is not there. `del {name}` takes it back everywhere.",
        ),
    )


def _names(row: Insertion, name: str) -> Sequence[Telling]:
    if row.reason != MENTIONS_OTHERS:
        return ()
    said = f"{name} is inserted, but names others than you meant. {row.detail}"
    return (Telling(Kind.NAMES, f"{said} `del {name}` takes it back everywhere."),)


def why_stopped(row: Insertion, parent: str = "") -> Telling:
    """What is told of a row that is held, parked or refused; `parent` is what it answers."""
    return Telling(Kind.STOPPED, _why_stopped(row, parent))


def _why_stopped(row: Insertion, parent: str) -> str:
    name = f"#{short_id(row.post)}"
    detail = f" ({row.detail})" if row.detail else ""
    again = f"`resend {name}` tries again, `drop {name}` ends it."
    match row.state, row.act:
        case State.HELD, _ if row.reason == CANNOT_TELL:
            return (
                f"Nobody can see whether {name} was inserted{detail}. Look for it there; then "
                f"`resend {name}`, or `drop {name}`."
            )
        case State.HELD, _ if row.reason == ELSEWHERE:
            return (
                f"{name} may have been inserted where your posts went before, and nobody looks "
                f"there any more. Look for it there; then `resend {name}` to insert it where they "
                f"go now, or `drop {name}`."
            )
        case State.HELD, _:
            return (
                f"{name} answers {parent or 'a post'}, which is not there. `resend {name}` lets it "
                f"go alone, `drop {name}` ends it; what you post later waits for that."
            )
        case State.PARKED, _ if row.reason == ELSEWHERE:
            return f"The rest of {name} is not inserted: it begins where your posts went before."
        case State.PARKED, _:
            why = "has waited for too long" if row.reason == TOO_OLD else "fails each time"
            return f"{name} {why}, and is not inserted{detail}. {again}"
        case State.REFUSED, Act.EDIT if row.reason == ELSEWHERE:
            return f"{name} is where your posts went before, and keeps its old text there."
        case State.REFUSED, Act.DELETE if row.reason == ELSEWHERE:
            return f"{name} is where your posts went before, until you delete it there."
        case State.REFUSED, Act.EDIT:
            return f"{SERVICE} cannot edit: {name} keeps its old text there."
        case State.REFUSED, Act.DELETE:
            return f"{SERVICE} cannot delete: {name} stays there until you delete it there."
        case _ if row.reason == "too_long":
            return f"{name} is too long for the service behind this relay, and is not inserted."
    return f"{SERVICE} did not take {name}{detail}. {again}"


def lines_of(told: Sequence[tuple[int, Telling]]) -> Sequence[str]:
    """What is told of posts, each with its number: a line for each kind.

    Of one post of a kind it is its sentence. Whom posts name there is told of each.
    """
    lines = []
    for kind in Kind:
        numbers = [number for number, each in told if each.kind is kind]
        sentences = [each.sentence for _, each in told if each.kind is kind]
        if len(numbers) < 2:
            lines += sentences
        elif kind is Kind.NAMES:
            lines += sentences[:NAMED]
            if len(numbers) > NAMED:
                names = _names_of(numbers[NAMED:])
                lines.append(f"So do {names}: look at them there; `del #ID` takes one back.")
        else:
            lines.append(f"{len(numbers)} {_TOGETHER[kind].format(_names_of(numbers))}")
    return lines


def _names_of(numbers: Sequence[int]) -> str:
    names = ", ".join(f"#{short_id(number)}" for number in numbers[:NAMED])
    left = len(numbers) - NAMED
    return f"{names} and {left} more" if left > 0 else names


_TOGETHER: Final = {
    Kind.STOPPED: "posts of yours were not inserted ({}): `pending` says why; `resend #ID` or "
    "`drop #ID`.",
    Kind.WAITS: "answers of yours wait until what they answer is inserted ({}): `pending` lists "
    "them, `drop #ID` takes one out.",
    Kind.LOST: "answers of yours are not inserted, since what they answer is not ({}). Your "
    "followers have them; to have one there, post it anew, not as an answer.",
    Kind.ALONE: "answers of yours were inserted alone, since what they answer is not there ({}): "
    "`del #ID` takes one back everywhere.",
}
