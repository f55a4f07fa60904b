"""Who gets what: replies, direct messages, boosts and changes; blocks, mutes, requests; groups,
`off`, caps and digests; likes; the operator's audit.

Frozen: a later change of `schema.py` gets a revision of its own and leaves this one alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("handle", sa.Column("successor", ID, nullable=True))
    posts()
    keeping_out()
    less()
    op.create_table(
        "liking",
        column("number"),
        column("person"),
        time("created"),
        sa.PrimaryKeyConstraint("number", "person", name="pk_liking"),
        foreign("liking", "number", "post.number"),
        foreign("liking", "person", "person.id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        time("at"),
        text("who"),
        text("action"),
        text("subject"),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )


def posts() -> None:
    no = sa.false()
    for new in (
        sa.Column("stanza", sa.Text(), nullable=True),
        text("kind", "post"),
        text("targets", "[]"),
        text("mentions", "[]"),
        sa.Column("parent", ID, nullable=True),
        sa.Column("original", ID, nullable=True),
        text("boosted_before", "[]"),
        sa.Column("edits", sa.Integer(), server_default="0", nullable=False),
        sa.Column("deleted", sa.Boolean(), server_default=no, nullable=False),
        sa.Column("relay_only", sa.Boolean(), server_default=no, nullable=False),
        sa.Column("new_author", sa.Boolean(), server_default=no, nullable=False),
        sa.Column("nth_hour", sa.Integer(), server_default="0", nullable=False),
        sa.Column("nth_day", sa.Integer(), server_default="0", nullable=False),
        sa.Column("surplus", sa.Boolean(), server_default=no, nullable=False),
        sa.Column("root", ID, nullable=True),
    ):
        op.add_column("post", new)
    for name, columns in (
        ("ix_post_author_stanza", ["author", "stanza"]),
        ("ix_post_original", ["original"]),
        ("ix_post_parent", ["parent"]),
    ):
        where = sa.text(f"{columns[-1]} IS NOT NULL")
        op.create_index(name, "post", columns, sqlite_where=where, postgresql_where=where)
    where = sa.text("surplus IS 1")
    op.create_index("ix_post_surplus", "post", ["author", "number"], sqlite_where=where)
    op.create_table(
        "addressed",
        column("person"),
        column("number"),
        sa.PrimaryKeyConstraint("person", "number", name="pk_addressed"),
        foreign("addressed", "person", "person.id"),
        foreign("addressed", "number", "post.number"),
        sqlite_with_rowid=False,
    )


def keeping_out() -> None:
    op.create_table(
        "block",
        column("owner"),
        text("target"),
        time("created"),
        sa.PrimaryKeyConstraint("owner", "target", name="pk_block"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "mute",
        column("person"),
        text("sort"),
        text("value"),
        time("since"),
        sa.Column("until", sa.BigInteger(), nullable=True),
        text("scope", ""),
        sa.PrimaryKeyConstraint("person", "sort", "value", "since", name="pk_mute"),
        foreign("mute", "person", "person.id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "request",
        column("author"),
        column("follower"),
        text("mode"),
        time("created"),
        sa.Column("denied", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("author", "follower", name="pk_request"),
        foreign("request", "author", "person.id"),
        foreign("request", "follower", "person.id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_request_follower", "request", ["follower"])


def less() -> None:
    op.create_table(
        "member",
        column("person"),
        text("name"),
        column("author"),
        sa.PrimaryKeyConstraint("person", "name", "author", name="pk_member"),
        foreign("member", "person", "person.id"),
        foreign("member", "author", "person.id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "off",
        column("person"),
        text("subject"),
        time("since"),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("person", "subject", "since", name="pk_off"),
        foreign("off", "person", "person.id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cap",
        column("person"),
        column("author"),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("daily", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("person", "author", name="pk_cap"),
        foreign("cap", "person", "person.id"),
        foreign("cap", "author", "person.id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "digest",
        column("person"),
        text("subject"),
        column("since"),
        sa.Column("every", sa.Integer(), nullable=True),
        sa.Column("at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("person", "subject", name="pk_digest"),
        foreign("digest", "person", "person.id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "digested",
        column("person"),
        text("subject"),
        column("number"),
        time("at"),
        sa.PrimaryKeyConstraint("person", "subject", name="pk_digested"),
        foreign("digested", "person", "person.id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_digested_subject", "digested", ["subject"])


def column(name: str) -> "sa.Column[int]":
    return sa.Column(name, ID, nullable=False)


def time(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=False)


def text(name: str, default: str | None = None) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), server_default=default, nullable=False)


def foreign(table: str, name: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([name], [to], name=f"fk_{table}_{name}")
