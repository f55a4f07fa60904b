"""Counters of minutes, for the graph of outages; and the secrets of people's own feeds.

Frozen: a later change of `schema.py` gets a revision of its own and leaves this one alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "activity",
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("minutes", sa.Integer(), server_default="1", nullable=False),
        sa.Column("watched", sa.Integer(), server_default="1", nullable=False),
        sa.Column("posts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("bot_posts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("deliveries", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("people", sa.Integer(), server_default="0", nullable=False),
        sa.Column("backlog", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("minute", name="pk_activity"),
    )
    op.create_table(
        "feed_token",
        sa.Column("person", Id, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name="fk_feed_token_person"),
        sa.PrimaryKeyConstraint("person", name="pk_feed_token"),
    )
