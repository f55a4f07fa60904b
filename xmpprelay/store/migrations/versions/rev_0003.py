"""The primary service: what is to be inserted, linked accounts, outages, files taken over.

Frozen: a later change of `schema.py` gets a revision of its own and leaves this one alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("post", text("attachments", "[]"))
    op.add_column("post", sa.Column("atom_id", sa.Text(), nullable=True))
    op.create_index("ix_post_atom_id", "post", ["atom_id"], unique=True)
    insertion()
    op.create_table(
        "link",
        sa.Column("person", ID, nullable=False),
        text("site"),
        text("name"),
        text("remote_id"),
        text("token"),
        time("created"),
        sa.Column("refused", sa.BigInteger(), nullable=True),
        sa.Column("private", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("person", name="pk_link"),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name="fk_link_person"),
    )
    op.create_index("ix_link_remote", "link", ["site", "remote_id"], unique=True)
    op.create_table(
        "client",
        text("site"),
        text("client_id"),
        text("client_secret"),
        time("created"),
        sa.PrimaryKeyConstraint("site", name="pk_client"),
    )
    op.create_table(
        "outage",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        text("site", ""),
        time("began"),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        text("reason"),
        sa.Column("carried", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outage"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "imported",
        text("digest"),
        time("at"),
        sa.Column("posts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_imported"),
    )


def insertion() -> None:
    op.create_table(
        "insertion",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("post", ID, nullable=False),
        sa.Column("part", sa.Integer(), server_default="0", nullable=False),
        text("act"),
        text("state"),
        time("created"),
        sa.Column("due", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("alike", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unclear", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("refused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("first_sent", sa.BigInteger(), nullable=True),
        sa.Column("last_sent", sa.BigInteger(), nullable=True),
        sa.Column("high_water", sa.Text(), nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("remote_url", sa.Text(), nullable=True),
        sa.Column("visibility", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        text("media", "{}"),
        text("reason", ""),
        text("detail", ""),
        sa.PrimaryKeyConstraint("id", name="pk_insertion"),
        sa.ForeignKeyConstraint(["post"], ["post.number"], name="fk_insertion_post"),
        sqlite_autoincrement=True,
    )
    waits = sa.text("due IS NOT NULL")
    op.create_index(
        "ix_insertion_open",
        "insertion",
        ["account", "post", "part", "id"],
        sqlite_where=waits,
        postgresql_where=waits,
    )
    op.create_index("ix_insertion_post", "insertion", ["post"])
    inserts = sa.text("act = 'insert'")
    op.create_index(
        "ix_insertion_remote",
        "insertion",
        ["account", "remote_id"],
        unique=True,
        sqlite_where=inserts,
        postgresql_where=inserts,
    )


def time(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=False)


def text(name: str, default: str | None = None) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), server_default=default, nullable=False)
