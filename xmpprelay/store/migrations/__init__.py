"""The history of the tables: which revision a database has, and the way to the newest one.

Each revision is a file in `versions/`, written by hand. There is no alembic.ini: everything runs on
a connection that the caller has opened, inside the caller's transaction, so that a migration is
done whole or not at all. Nothing here goes back to an older revision.
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

FOLDER: Final = Path(__file__).parent


def newest() -> str:
    """Give the revision that this version of the relay works with."""
    head = ScriptDirectory(str(FOLDER)).get_current_head()
    assert head is not None, "the package has lost its migrations"  # noqa: S101
    return head


def known(revision: str) -> bool:
    """Tell whether this version of the relay has heard of the revision."""
    return any(
        script.revision == revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()
    )


def current(conn: Connection) -> str | None:
    """Give the revision of the database; None: it has none of the relay's tables."""
    return MigrationContext.configure(conn).get_current_revision()


def is_empty(conn: Connection) -> bool:
    """Tell whether the database holds no table at all, the relay's or anybody else's."""
    return not inspect(conn).get_table_names()


def upgrade(conn: Connection) -> None:
    """Bring the tables to the newest revision, inside the connection's transaction."""
    config = Config()
    # Alembic reads a percent sign as the start of a variable.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
