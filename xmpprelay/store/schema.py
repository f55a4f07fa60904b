"""The tables.

Names are in the singular. Times are integers, microseconds since 1970 in UTC: they sort, they are
exact, and every database has them. Post numbers and person ids are given by the relay or by the
database in ascending order and never used twice.

Nothing here makes or changes a table in a database: `migrations/` does, and a test compares the
two. No query lives here.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    and_,
    false,
    or_,
)
from sqlalchemy.engine import Dialect

EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970 and given back in UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Give the integer that is stored; ValueError for a naive time, which means nothing."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return (value - EPOCH_START) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Give the time back, in UTC."""
        return None if value is None else EPOCH_START + timedelta(microseconds=value)


# SQLite makes a column a row's own id, and counts it up by itself, only if it is called INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={  # so that a migration can name every constraint on every database
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

person = Table(
    "person",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("jid", Text, nullable=False, unique=True),  # bare, prepared
    Column("created", Moment, nullable=False),
    sqlite_autoincrement=True,  # the id of somebody who was removed is never given again
)

handle = Table(
    "handle",
    metadata,
    Column("handle", Text, primary_key=True),  # lower case
    Column("skeleton", Text, nullable=False, unique=True),  # what it looks like (S12.1)
    Column("person", Id, ForeignKey("person.id")),  # NULL: a tombstone; nobody inherits it
    Column("since", Moment, nullable=False),
    Column("retired", Moment),
    Column("successor", Id),  # of a tombstone: the person who has another one now (S12.2)
)
Index("ix_handle_person", handle.c.person, unique=True)  # one live handle a person; NULLs differ

follow = Table(
    "follow",
    metadata,
    Column("follower", Id, ForeignKey("person.id"), nullable=False),
    Column("author", Id, ForeignKey("person.id"), nullable=False),
    Column("mode", Text, nullable=False),
    Column("since", Id, nullable=False),  # the first post number that counts
    PrimaryKeyConstraint("follower", "author"),
    Index("ix_follow_author", "author"),
    sqlite_with_rowid=False,  # the key is the table: half the size for a million rows
)

standing = Table(
    "standing",
    metadata,
    Column("person", Id, ForeignKey("person.id"), primary_key=True, autoincrement=False),
    Column("away_from", Id),  # NULL: live
    Column("away_at", Moment),
    Column("missed", Text, nullable=False, server_default="[]"),  # JSON: post numbers, ascending
    Column("rest", Text),  # JSON: [first, last, [[author, number], ...]]
    Column("permission", Text, nullable=False, server_default="never"),  # model.Grant
    Column("day", Integer, nullable=False, server_default="0"),
    Column("used", Integer, nullable=False, server_default="0"),
)

post = Table(
    "post",
    metadata,
    Column("number", Id, primary_key=True, autoincrement=False),  # given in commit order
    Column("author", Id, ForeignKey("person.id"), nullable=False),
    Column("text", Text, nullable=False),
    Column("lang", Text),
    Column("created", Moment, nullable=False),
    Column("origin", Text),  # the sender's <origin-id/>: dedupe as long as the post lives
    Column("weak", Text),  # stanza id and text: dedupe for ten minutes, where there is no origin
    Column("stanza", Text),  # the client's own message id: corrections name it (S9.3)
    Column("kind", Text, nullable=False, server_default="post"),  # model.Kind
    Column("targets", Text, nullable=False, server_default="[]"),  # JSON: person ids, in order
    Column("mentions", Text, nullable=False, server_default="[]"),  # JSON: person ids, ascending
    Column("parent", Id),  # the number of the post that it replies to
    Column("original", Id),  # the number of the post that it shows or changes
    Column("boosted_before", Text, nullable=False, server_default="[]"),  # JSON: person ids
    Column("edits", Integer, nullable=False, server_default="0"),
    Column("deleted", Boolean, nullable=False, server_default=false()),
    Column("relay_only", Boolean, nullable=False, server_default=false()),
    Column("new_author", Boolean, nullable=False, server_default=false()),
    Column("nth_hour", Integer, nullable=False, server_default="0"),
    Column("nth_day", Integer, nullable=False, server_default="0"),
    Column("surplus", Boolean, nullable=False, server_default=false()),
    Column("root", Id),  # of a reply: the number of the post with which its thread began
    Column("attachments", Text, nullable=False, server_default="[]"),  # JSON: addresses
    Column("atom_id", Text),  # of a post taken over from another relay: its id there
    Column("item", Text),  # the id that its author gave it as an item of his node (XEP-0060)
)
Index(
    "ix_post_author_item",
    post.c.author,
    post.c.item,
    unique=True,
    sqlite_where=post.c.item.is_not(None),
    postgresql_where=post.c.item.is_not(None),
)
Index("ix_post_atom_id", post.c.atom_id, unique=True)
Index("ix_post_author_number", post.c.author, post.c.number)
Index(
    "ix_post_author_origin",
    post.c.author,
    post.c.origin,
    unique=True,
    sqlite_where=post.c.origin.is_not(None),
    postgresql_where=post.c.origin.is_not(None),
)
Index(
    "ix_post_author_weak",
    post.c.author,
    post.c.weak,
    sqlite_where=post.c.weak.is_not(None),
    postgresql_where=post.c.weak.is_not(None),
)

# Most clients give a message one id, which is its origin too, and found by that.
NAMED_OTHERWISE: Final = and_(
    post.c.stanza.is_not(None), or_(post.c.origin.is_(None), post.c.origin != post.c.stanza)
)
Index(
    "ix_post_author_stanza",
    post.c.author,
    post.c.stanza,
    sqlite_where=NAMED_OTHERWISE,
    postgresql_where=NAMED_OTHERWISE,
)
Index(
    "ix_post_original",
    post.c.original,
    sqlite_where=post.c.original.is_not(None),
    postgresql_where=post.c.original.is_not(None),
)
Index(
    "ix_post_parent",
    post.c.parent,
    sqlite_where=post.c.parent.is_not(None),
    postgresql_where=post.c.parent.is_not(None),
)

Index(  # what is surplus of one author, for digests
    "ix_post_surplus",
    post.c.author,
    post.c.number,
    sqlite_where=post.c.surplus.is_(True),
    postgresql_where=post.c.surplus.is_(True),
)

# Who gets a post without following its author, and who got one that is changed.
addressed = Table(
    "addressed",
    metadata,
    Column("person", Id, ForeignKey("person.id"), nullable=False),
    Column("number", Id, ForeignKey("post.number"), nullable=False),
    PrimaryKeyConstraint("person", "number"),
    Index("ix_addressed_number", "number"),
    sqlite_with_rowid=False,
)

fanout = Table(
    "fanout",
    metadata,
    Column("number", Id, ForeignKey("post.number"), nullable=False),
    Column("lane", Text, nullable=False),
    Column("position", Id, nullable=False),  # person id up to which delivery is confirmed
    PrimaryKeyConstraint("number", "lane"),
    sqlite_with_rowid=False,
)

setting = Table(
    "setting",
    metadata,
    Column("person", Id, ForeignKey("person.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("person", "name"),
    sqlite_with_rowid=False,
)

# --- who keeps whom out (S6, S7), and who asks to follow (S5.2) ----------------------------------

block = Table(
    "block",
    metadata,
    Column("owner", Id, nullable=False),  # person id; 0: the operator
    Column("target", Text, nullable=False),  # bare JID, domain, or *.domain
    Column("created", Moment, nullable=False),
    PrimaryKeyConstraint("owner", "target"),
    sqlite_with_rowid=False,
)

mute = Table(
    "mute",
    metadata,
    Column("person", Id, ForeignKey("person.id"), nullable=False),
    Column("sort", Text, nullable=False),  # wishes.Sort
    Column("value", Text, nullable=False),
    Column("since", Moment, nullable=False),
    Column("until", Moment),  # NULL: for good
    Column("scope", Text, nullable=False, server_default=""),  # wishes.Scope
    PrimaryKeyConstraint("person", "sort", "value", "since"),
    sqlite_with_rowid=False,
)

request = Table(
    "request",
    metadata,
    Column("author", Id, ForeignKey("person.id"), nullable=False),
    Column("follower", Id, ForeignKey("person.id"), nullable=False),
    Column("mode", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("denied", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("author", "follower"),
    Index("ix_request_follower", "follower"),
    sqlite_with_rowid=False,
)

# --- what each wants to see less of (S10) --------------------------------------------------------

member = Table(
    "member",
    metadata,
    Column("person", Id, ForeignKey("person.id"), nullable=False),  # whose group it is
    Column("name", Text, nullable=False),  # of the group, lower case
    Column("author", Id, ForeignKey("person.id"), nullable=False),
    PrimaryKeyConstraint("person", "name", "author"),
    sqlite_with_rowid=False,
)

off = Table(
    "off",
    metadata,
    Column("person", Id, ForeignKey("person.id"), nullable=False),
    Column("subject", Text, nullable=False),  # see wishes.Wishes
    Column("since", Moment, nullable=False),
    Column("until", Moment),
    PrimaryKeyConstraint("person", "subject", "since"),
    sqlite_with_rowid=False,
)

cap = Table(
    "cap",
    metadata,
    Column("person", Id, ForeignKey("person.id"), nullable=False),
    Column("author", Id, ForeignKey("person.id"), nullable=False),
    Column("count", Integer, nullable=False),
    Column("daily", Boolean, nullable=False),
    PrimaryKeyConstraint("person", "author"),
    sqlite_with_rowid=False,
)

digest = Table(
    "digest",
    metadata,
    Column("person", Id, ForeignKey("person.id"), nullable=False),
    Column("subject", Text, nullable=False),  # see wishes.Wishes
    Column("since", Id, nullable=False),  # the first post number that it is about
    Column("every", Integer),  # seconds
    Column("at", Text),  # HH:MM, in the person's zone; neither: no digest, whatever the tier
    PrimaryKeyConstraint("person", "subject"),
    sqlite_with_rowid=False,
)

digested = Table(  # how far digests have come
    "digested",
    metadata,
    Column("person", Id, ForeignKey("person.id"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("number", Id, nullable=False),  # up to this one he has had them
    Column("at", Moment, nullable=False),
    PrimaryKeyConstraint("person", "subject"),
    Index("ix_digested_subject", "subject"),
    sqlite_with_rowid=False,
)

liking = Table(
    "liking",
    metadata,
    Column("number", Id, ForeignKey("post.number"), nullable=False),
    Column("person", Id, ForeignKey("person.id"), nullable=False),
    Column("created", Moment, nullable=False),
    PrimaryKeyConstraint("number", "person"),
    sqlite_with_rowid=False,
)

# --- who people are (XEP-0054, XEP-0084) ---------------------------------------------------------

profile = Table(
    "profile",
    metadata,
    Column("person", Id, ForeignKey("person.id"), primary_key=True),
    Column("name", Text, nullable=False, server_default=""),
    Column("about", Text, nullable=False, server_default=""),
    Column("url", Text, nullable=False, server_default=""),
    Column("typed", Text, nullable=False, server_default=""),  # profile.Part, with spaces between:
    # set by himself, and so not taken over from what his own address shows
    Column("source", Text),  # hash of the picture that his own address had when that was last done
)

picture = Table(
    "picture",
    metadata,
    Column("person", Id, ForeignKey("person.id"), primary_key=True),
    Column("sha1", Text, nullable=False),  # of `data`, in hexadecimal: its id as an item
    Column("width", Integer, nullable=False),  # pixels
    Column("height", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),  # PNG, encoded by the relay itself
)

# --- entries of an author's own node, at his own address -----------------------------------------

sourced = Table(
    "sourced",
    metadata,
    Column("person", Id, ForeignKey("person.id"), nullable=False),
    Column("item", Text, nullable=False),  # its id there
    Column("number", Id),  # the post that it is; NULL: it is known, and is none
    Column("digest", Text),  # of its text as it was last; NULL: it is never looked at again
    Column("seen", Moment, nullable=False),  # when it was last written down here
    PrimaryKeyConstraint("person", "item"),
    Index("ix_sourced_number", "number"),
    sqlite_with_rowid=False,
)

audit = Table(  # what operators and admins have done
    "audit",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    Column("who", Text, nullable=False),  # a bare JID, or the command line
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    sqlite_autoincrement=True,
)

# --- the primary service (docs/flow.md, "Into the primary") --------------------------------------

insertion = Table(
    "insertion",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("account", Id, nullable=False),  # person id of the author; 0: the operator's own account
    Column("post", Id, ForeignKey("post.number"), nullable=False),  # what is inserted or changed
    Column("part", Integer, nullable=False, server_default="0"),  # of a split post: 1, 2, …
    Column("act", Text, nullable=False),  # insertion.Act
    Column("state", Text, nullable=False),  # insertion.State
    Column("created", Moment, nullable=False),  # of the entry of the journal that asks for it
    Column("due", Moment),  # when it is looked at again; NULL: it is final
    Column("key", Text),  # of the last sending
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("alike", Integer, nullable=False, server_default="0"),  # the same failure, in a row
    Column("unclear", Boolean, nullable=False, server_default=false()),  # a sending may have worked
    Column("refused", Boolean, nullable=False, server_default=false()),  # and then one was refused
    Column("first_sent", Moment),
    Column("last_sent", Moment),
    Column("high_water", Text),  # remote id that was there before the first sending
    Column("remote_id", Text),
    Column("remote_url", Text),
    Column("visibility", Text),  # primary.Visibility: at most, then as it was sent
    Column("status", Text),  # JSON: what was sent, until it is known what became of it
    Column("media", Text, nullable=False, server_default="{}"),  # JSON: address -> remote id
    Column("reason", Text, nullable=False, server_default=""),  # short code of the last outcome
    Column("detail", Text, nullable=False, server_default=""),
    Column("service", Text),  # where it was sent last (insertion.Where); NULL: it never was
    Column("service_account", Text, nullable=False, server_default=""),  # and as whom
    sqlite_autoincrement=True,
)
OPEN_INSERTION: Final = insertion.c.due.is_not(None)
Index(  # the order of an account
    "ix_insertion_open",
    insertion.c.account,
    insertion.c.post,
    insertion.c.part,
    insertion.c.id,
    sqlite_where=OPEN_INSERTION,
    postgresql_where=OPEN_INSERTION,
)
Index("ix_insertion_post", insertion.c.post)
Index(  # what one post has claimed no other can
    "ix_insertion_remote",
    insertion.c.account,
    insertion.c.service,
    insertion.c.remote_id,
    unique=True,
    sqlite_where=insertion.c.act == "insert",
    postgresql_where=insertion.c.act == "insert",
)
INSERTED: Final = and_(insertion.c.act == "insert", insertion.c.state == "inserted")
Index(  # what was inserted last
    "ix_insertion_sent",
    insertion.c.account,
    insertion.c.service,
    insertion.c.service_account,
    insertion.c.last_sent,
    sqlite_where=INSERTED,
    postgresql_where=INSERTED,
)

link = Table(  # whose account at which primary
    "link",
    metadata,
    Column("person", Id, ForeignKey("person.id"), primary_key=True),
    Column("site", Text, nullable=False),  # base URL of the instance
    Column("name", Text, nullable=False),  # alice@social.example
    Column("remote_id", Text, nullable=False),
    Column("token", Text, nullable=False),  # encrypted (secretbox.py)
    Column("created", Moment, nullable=False),
    Column("refused", Moment),  # since when the credentials do not hold; NULL: they do
    Column("private", Boolean, nullable=False, server_default=false()),
    # A protected author wants his posts there, for his followers there
)
Index("ix_link_remote", link.c.site, link.c.remote_id, unique=True)

client = Table(  # the relay, as each instance knows it
    "client",
    metadata,
    Column("site", Text, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("client_secret", Text, nullable=False),  # encrypted
    Column("created", Moment, nullable=False),
)

outage = Table(  # when a primary was on standby
    "outage",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("site", Text, nullable=False, server_default=""),
    Column("began", Moment, nullable=False),
    Column("ended", Moment),  # NULL: it lasts
    Column("reason", Text, nullable=False),
    Column("carried", Integer, nullable=False, server_default="0"),  # posts that waited at its end
    sqlite_autoincrement=True,
)

feed_token = Table(  # the secret part of the addresses of somebody's own feeds
    "feed_token",
    metadata,
    Column("person", Id, ForeignKey("person.id"), primary_key=True),
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of it
    Column("created", Moment, nullable=False),
)

activity = Table(  # how much there was to do, for the graph of outages (core/activity.py)
    "activity",
    metadata,
    Column("minute", Moment, primary_key=True),  # its beginning
    Column("minutes", Integer, nullable=False, server_default="1"),  # how long it is: 1, 10 or 60
    Column("watched", Integer, nullable=False, server_default="1"),  # in how many the relay ran
    Column("posts", Integer, nullable=False, server_default="0"),  # those of bots included
    Column("bot_posts", Integer, nullable=False, server_default="0"),
    Column("deliveries", BigInteger, nullable=False, server_default="0"),  # confirmed stanzas
    Column("people", Integer, nullable=False, server_default="0"),  # who were new
    Column("backlog", Integer, nullable=False, server_default="0"),  # open for a primary, at most
)

imported = Table(  # files of posts that were taken over
    "imported",
    metadata,
    Column("digest", Text, primary_key=True),  # SHA-256 of its lines
    Column("at", Moment, nullable=False),
    Column("posts", Integer, nullable=False),
)


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
META_EPOCH: Final = "epoch"
"""Six random characters, made with the database and again by every restore: part of every id."""
META_PRIMARY: Final = "primary"
"""The primary service that the relay had when it was started last."""
META_NUMBER_FLOOR: Final = "number_floor"
"""Numbers up to this one are used up, whatever posts there are.

Restore raises it. Whoever deletes the newest posts has to raise it in the same transaction.
"""
