"""Items of authors' nodes, their profiles and pictures, and entries of their own nodes elsewhere.

Frozen: a later change of `schema.py` gets a revision of its own and leaves this one alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


_TYPED = """
    INSERT INTO profile (person, name, about, typed)
    SELECT person,
        MAX(CASE WHEN name = 'name' THEN value ELSE '' END),
        MAX(CASE WHEN name = 'about' THEN value ELSE '' END),
        TRIM(
            MAX(CASE WHEN name = 'about' THEN 'about ' ELSE '' END)
            || MAX(CASE WHEN name = 'name' THEN 'name' ELSE '' END)
        )
    FROM setting WHERE name IN ('name', 'about') GROUP BY person
"""


def upgrade() -> None:
    op.add_column("post", sa.Column("item", sa.Text(), nullable=True))
    named = sa.text("item IS NOT NULL")
    op.create_index(
        "ix_post_author_item",
        "post",
        ["author", "item"],
        unique=True,
        sqlite_where=named,
        postgresql_where=named,
    )
    op.create_table(
        "profile",
        sa.Column("person", Id, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("about", sa.Text(), server_default="", nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("typed", sa.Text(), server_default="", nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name="fk_profile_person"),
        sa.PrimaryKeyConstraint("person", name="pk_profile"),
    )
    op.execute(_TYPED)
    op.execute("DELETE FROM setting WHERE name IN ('name', 'about')")
    op.create_table(
        "picture",
        sa.Column("person", Id, nullable=False),
        sa.Column("sha1", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name="fk_picture_person"),
        sa.PrimaryKeyConstraint("person", name="pk_picture"),
    )
    op.create_table(
        "sourced",
        sa.Column("person", Id, nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("number", Id, nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name="fk_sourced_person"),
        sa.PrimaryKeyConstraint("person", "item", name="pk_sourced"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sourced_number", "sourced", ["number"])
