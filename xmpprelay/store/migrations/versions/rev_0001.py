"""The first tables: people, handles, follows, standings, posts, fan-outs, settings.

Frozen: a later change of `schema.py` gets a revision of its own and leaves this one alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    people()
    posts()
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )


def people() -> None:
    op.create_table(
        "person",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("jid", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        sa.UniqueConstraint("jid", name="uq_person_jid"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "handle",
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("skeleton", sa.Text(), nullable=False),
        sa.Column("person", ID, nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("retired", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("handle", name="pk_handle"),
        sa.UniqueConstraint("skeleton", name="uq_handle_skeleton"),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name="fk_handle_person"),
    )
    op.create_index("ix_handle_person", "handle", ["person"], unique=True)
    op.create_table(
        "follow",
        sa.Column("follower", ID, nullable=False),
        sa.Column("author", ID, nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("since", ID, nullable=False),
        sa.PrimaryKeyConstraint("follower", "author", name="pk_follow"),
        sa.ForeignKeyConstraint(["follower"], ["person.id"], name="fk_follow_follower"),
        sa.ForeignKeyConstraint(["author"], ["person.id"], name="fk_follow_author"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_follow_author", "follow", ["author"])
    op.create_table(
        "standing",
        sa.Column("person", ID, autoincrement=False, nullable=False),
        sa.Column("away_from", ID, nullable=True),
        sa.Column("away_at", sa.BigInteger(), nullable=True),
        sa.Column("missed", sa.Text(), server_default="[]", nullable=False),
        sa.Column("rest", sa.Text(), nullable=True),
        sa.Column("permission", sa.Text(), server_default="never", nullable=False),
        sa.Column("day", sa.Integer(), server_default="0", nullable=False),
        sa.Column("used", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("person", name="pk_standing"),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name="fk_standing_person"),
    )
    op.create_table(
        "setting",
        sa.Column("person", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("person", "name", name="pk_setting"),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name="fk_setting_person"),
        sqlite_with_rowid=False,
    )


def posts() -> None:
    op.create_table(
        "post",
        sa.Column("number", ID, autoincrement=False, nullable=False),
        sa.Column("author", ID, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("lang", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("weak", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_post"),
        sa.ForeignKeyConstraint(["author"], ["person.id"], name="fk_post_author"),
    )
    op.create_index("ix_post_author_number", "post", ["author", "number"])
    for column, unique in (("origin", True), ("weak", False)):
        where = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_post_author_{column}",
            "post",
            ["author", column],
            unique=unique,
            sqlite_where=where,
            postgresql_where=where,
        )
    op.create_table(
        "fanout",
        sa.Column("number", ID, nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("position", ID, nullable=False),
        sa.PrimaryKeyConstraint("number", "lane", name="pk_fanout"),
        sa.ForeignKeyConstraint(["number"], ["post.number"], name="fk_fanout_number"),
        sqlite_with_rowid=False,
    )
