"""What makes a post the same as one that is there: clients and servers send things again.

An `<origin-id/>` (XEP-0359) names a message for good: the same author and origin make the same post
for as long as it lives. A stanza's own id is weaker, since bots begin again at 1 when they are
restarted: it counts for ten minutes, and only with the same text. Without either there is no
telling, and every post is a new one.

Nothing is written here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import CompoundSelect, Connection, and_, bindparam, select, union_all

from xmpprelay.core.model import Post
from xmpprelay.store.dialect import pairs, pairs_value
from xmpprelay.store.rows import POST, post_values, posts_of
from xmpprelay.store.schema import post

WEAK_SPAN: Final = timedelta(minutes=10)
"""How long a stanza's own id counts."""


@dataclass(frozen=True, slots=True)
class Key:
    """Two posts with the same key are one; either `origin` or `weak` is set."""

    author: int
    origin: str | None
    weak: str | None


def key_of(author: int, text: str, origin: str | None, stanza_id: str | None) -> Key | None:
    """Give the key of a post; None if it is a new one in any case."""
    if origin:
        return Key(author, origin, None)
    if stanza_id:
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        return Key(author, None, f"{stanza_id}:{digest}")
    return None


def post_row(new: Post, key: Key | None, stanza_id: str | None) -> dict[str, Any]:
    """Give the row of a post with its key, and the id of the message that made it."""
    return {
        **post_values(new),
        "stanza": stanza_id,
        "origin": None if key is None else key.origin,
        "weak": None if key is None else key.weak,
    }


def posts_by_key(conn: Connection, keys: Sequence[Key], now: datetime) -> dict[Key, Post]:
    """Find those of the posts that are there, all at once. `now` is aware."""
    if not keys:
        return {}
    found = conn.execute(
        _SAME_POSTS,
        {
            "origins": pairs_value([(key.author, key.origin) for key in keys if key.origin]),
            "weak": pairs_value([(key.author, key.weak) for key in keys if key.weak]),
            # On both sides: after a clock was set back, ids must not count for a day.
            "earliest": now - WEAK_SPAN,
            "latest": now + WEAK_SPAN,
        },
    )
    # Of several posts with one weak key, outside each other's span, the newest counts.
    rows = sorted(found, key=lambda row: row.number)
    posts = posts_of(conn, rows)
    return {
        Key(row.author, row.origin, row.weak): post for row, post in zip(rows, posts, strict=True)
    }


def _same_posts() -> CompoundSelect[Any]:
    columns = (*POST, post.c.origin, post.c.weak)
    keys, author, origin = pairs("origins")
    by_origin = select(*columns).join_from(
        keys, post, and_(post.c.author == author, post.c.origin == origin)
    )
    keys, author, weak = pairs("weak")
    lately = post.c.created.between(bindparam("earliest"), bindparam("latest"))
    by_weak = select(*columns).join_from(
        keys, post, and_(post.c.author == author, post.c.weak == weak, lately)
    )
    return union_all(by_origin, by_weak)


_SAME_POSTS: Final = _same_posts()
