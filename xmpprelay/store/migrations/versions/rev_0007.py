"""Whom a post is addressed to can be found by the post; a name that is its origin is kept once.

Frozen: a later change of `schema.py` gets a revision of its own and leaves this one alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_addressed_number", "addressed", ["number"])
    op.drop_index("ix_post_author_stanza", "post")
    otherwise = sa.text("stanza IS NOT NULL AND (origin IS NULL OR origin != stanza)")
    op.create_index(
        "ix_post_author_stanza",
        "post",
        ["author", "stanza"],
        sqlite_where=otherwise,
        postgresql_where=otherwise,
    )
