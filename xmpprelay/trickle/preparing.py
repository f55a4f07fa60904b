"""What is done about an account's oldest row, and with what: the status that is sent, its parts.

No I/O: it is asked inside the transaction that stores the row as it then is, so that the text which
is sent is the text that was there when the row became SENDING.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from xmpprelay.core.insertion import (
    PARENT,
    Act,
    End,
    Head,
    Insertion,
    Rules,
    Send,
    State,
    Step,
    Wait,
    afresh,
    ended,
    next_step,
    sending,
)
from xmpprelay.core.model import Post
from xmpprelay.core.primary import Caps, Status
from xmpprelay.core.status import Naming, texts_of, visibility_of


class Writing(Protocol):
    """What posts are called, and people, at the primary."""

    def draft(self, post: Post) -> Status:
        """A post as a status, but for its text and what the primary decides."""

    def naming(self, post: Post) -> Naming:
        """What people are called there, for the text of a post."""

    def link(self, post: Post) -> str:
        """Where the whole of a post can be read."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What is done about a row."""

    step: Step
    row: Insertion | None = None  # as it is to be stored before; None: as it is
    further: tuple[Insertion, ...] = ()  # rows of the further parts that a post has got
    upload: str | None = None  # an address, to be fetched and uploaded before anything is sent
    gone: int = 0  # rows of further parts that are not there any more


class Preparing:
    """Decides, and makes the status. `uploads`: attachments are uploaded, as far as they may be."""

    def __init__(
        self, writing: Writing, rules: Rules, new_key: Callable[[], str], *, uploads: bool
    ) -> None:
        self._writing = writing
        self._rules = rules
        self._new_key = new_key
        self._uploads = uploads

    def decide(self, head: Head, caps: Caps, now: datetime) -> Decided:
        """What is done about an account's oldest open row now."""
        step = next_step(head, caps, self._rules, now)
        match step:
            case End(state, reason):
                return Decided(step, ended(head.row, state, reason, now))
            case Wait(tell=True):
                return Decided(step, replace(head.row, reason=PARENT))
            case Send():
                fresh = replace(head, row=afresh(head.row, head.here))
                return replace(self._send(fresh, step, caps, now), gone=head.rest)
        return Decided(step)

    def _send(self, head: Head, step: Send, caps: Caps, now: datetime) -> Decided:
        if head.row.act is Act.DELETE:
            return Decided(step, sending(head, self._new_key(), step.most, None, now))
        upload = self._to_upload(head, caps)
        if upload is not None:
            return Decided(step, replace(head.row, where=head.here), upload=upload)
        return self._status(head, step, caps, now)

    def _to_upload(self, head: Head, caps: Caps) -> str | None:
        """The next attachment that is not there yet."""
        if not self._uploads or head.row.act is not Act.INSERT or head.row.part > 1:
            return None
        wanted = head.post.attachments[: caps.max_media]
        return next((each for each in wanted if each not in head.row.media), None)

    def _status(self, head: Head, step: Send, caps: Caps, now: datetime) -> Decided:
        """The row with the status that is sent, and the rows of further parts."""
        row, post = head.row, head.post
        attached = {address: name for address, name in row.media.items() if name}
        texts = texts_of(
            post,
            caps,
            self._rules,
            self._writing.naming(post),
            self._writing.link(post),
            now,
            attached=tuple(attached),
            answers=self._answers(head) if step.detached else "",
        )
        if texts is None or (row.act is Act.EDIT and len(texts) > 1):
            reason = "too_long" if texts is None else "cannot_edit"
            return Decided(End(State.REFUSED, reason), ended(row, State.REFUSED, reason, now))
        further: tuple[Insertion, ...] = ()
        if len(texts) > 1 and row.part == 0:
            further = tuple(replace(row, id=0, part=n) for n in range(2, len(texts) + 1))
            row = replace(row, part=1)
        draft = self._writing.draft(post)
        status = replace(
            draft,
            id=draft.id if row.part < 2 else f"{draft.id}.{row.part}",
            text=texts[min(max(row.part, 1), len(texts)) - 1],
            visibility=visibility_of(post, step, self._rules),
            in_reply_to=step.in_reply_to,
            media=tuple(attached.values()) if row.part < 2 else (),
            updated=now if row.act is Act.EDIT else None,
            backdate=self._rules.time == "backdate",
        )
        of_part = replace(head, row=row)
        new = sending(of_part, self._new_key(), status.visibility, status, now)
        return Decided(step, new, further)

    def _answers(self, head: Head) -> str:
        """Where somebody can read what a post answers."""
        if head.parent is None:
            return ""
        there = None if head.parent_row is None else head.parent_row.remote_url
        return there or self._writing.link(head.parent)
