"""At which service each insertion was sent: an id of one means nothing at another.

What is inserted already gets its service at the next start, which knows it (`store/primary.py`).

Frozen: a later change of `schema.py` gets a revision of its own and leaves this one alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("insertion", sa.Column("service", sa.Text(), nullable=True))
    op.add_column(
        "insertion", sa.Column("service_account", sa.Text(), server_default="", nullable=False)
    )
    op.drop_index("ix_insertion_remote", "insertion")
    inserts = sa.text("act = 'insert'")
    op.create_index(
        "ix_insertion_remote",
        "insertion",
        ["account", "service", "remote_id"],
        unique=True,
        sqlite_where=inserts,
        postgresql_where=inserts,
    )
