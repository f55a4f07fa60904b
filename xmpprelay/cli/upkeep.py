"""`migrate`, `backup` and `restore`: what an operator does to the database."""

import asyncio
from pathlib import Path

import click

from xmpprelay.cli.shared import config_option, load_config, now, progress


@click.command(epilog="Example: xmpprelay migrate")
@config_option
def migrate(config_path: Path) -> None:
    """Bring the database to this version.

    No relay may run meanwhile. `run` does it by itself; this is for those who want to see it done
    first. Make a backup before.
    """
    config = load_config(config_path)
    from xmpprelay.store import upkeep

    with progress("Migrating"):
        done = asyncio.run(upkeep.migrate(config.store.url))
    if done.before == done.after:
        click.echo(f"Nothing to do: the database has this version's revision, {done.after}.")
    else:
        click.echo(f"Migrated from revision {done.before or 'none'} to {done.after}.")


@click.command(epilog="Example: xmpprelay backup /var/backups/relay-monday.db")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def backup(file: Path, config_path: Path) -> None:
    """Write a copy of the database to FILE.

    The relay may run meanwhile. FILE must not be there yet. It holds all posts: keep it as safe as
    the database.
    """
    config = load_config(config_path)
    from xmpprelay.store import upkeep

    with progress("Copying"):
        asyncio.run(upkeep.backup(config.store.url, file))
    click.echo(f"The backup is in {file}.")


@click.command(epilog="Example: xmpprelay restore /var/backups/relay-monday.db")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def restore(file: Path, config_path: Path) -> None:
    """Put a backup in the database's place.

    No relay may run meanwhile. This is the only right way back: a database that is copied by hand
    would use post numbers again, and is refused. The replaced database is kept beside the new one.
    """
    config = load_config(config_path)
    from xmpprelay.store import upkeep

    with progress("Restoring"):
        restored = asyncio.run(upkeep.restore(config.store.url, file, now()))
    click.echo(f"Restored {restored.posts} posts and {restored.people} people from {file}.")
    if restored.kept is not None:
        click.echo(f"The database that was there is now {restored.kept}.")
    if restored.waiting:
        click.echo(
            f"{restored.waiting} entries wait for the primary service, and some may be there "
            "already, so it is on standby: see `xmpprelay journal list --state queued`, "
            "`journal drop` what is there, then `xmpprelay primary standby auto`."
        )
