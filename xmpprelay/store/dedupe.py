"""What makes a post the same as one that is there: clients and servers send things again.

An `<origin-id/>` (XEP-0359) names a message for good: the same author and origin make the same post
for as long as it lives. A stanza's own id is weaker, since bots begin again at 1 when they are
restarted: it counts for ten minutes, and only with the same text. Without either there is no
telling, and every post is a new one.

A post is written with its key, and nothing else is here.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import CompoundSelect, Connection, and_, bindparam, select, union_all

from xmpprelay.core.model import Post
from xmpprelay.store.dialect import Question, insertion, pairs, pairs_value
from xmpprelay.store.rows import POST, posts_of, stored_post
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


NewPost = tuple[Post, Key | None, str | None]
"""A post that is to be stored, its key, and the id of the message that made it."""


def insert_posts(conn: Connection, posts: Iterable[NewPost]) -> None:
    """Store new posts, each with its key and the id of the message that made it."""
    rows = [
        stored_post(new, None, None, stanza_id)
        if key is None
        else stored_post(new, key.origin, key.weak, stanza_id)
        for new, key, stanza_id in posts
    ]
    _INSERTING.each_stored(conn, rows)


_INSERTING: Final = insertion(post)


def posts_by_key(conn: Connection, keys: Sequence[Key], now: datetime) -> dict[Key, Post]:
    """Find those of the posts that are there, all at once. `now` is aware."""
    if not keys:
        return {}
    rows = SAME_POSTS.ask(
        conn,
        origins=pairs_value([(key.author, key.origin) for key in keys if key.origin]),
        weak=pairs_value([(key.author, key.weak) for key in keys if key.weak]),
        # On both sides: after a clock was set back, ids must not count for a day.
        earliest=now - WEAK_SPAN,
        latest=now + WEAK_SPAN,
    )
    # Of several posts with one weak key, outside each other's span, the newest counts.
    rows.sort(key=itemgetter(0))
    posts = posts_of(conn, rows)
    return {
        Key(post.author, origin, weak): post
        for (*_, origin, weak), post in zip(rows, posts, strict=True)
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


SAME_POSTS: Final = Question(_same_posts())
"""`Post`s, each with its origin and its weak key, that have one of those keys."""
