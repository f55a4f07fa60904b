"""`people`: who is known to the relay; many at once in and out, as CSV."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xmpprelay.cli.shared import (
    Progress,
    config_option,
    json_option,
    load_config,
    now,
    print_json,
    print_table,
    progress,
    read_database,
)
from xmpprelay.errors import XmppRelayError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from xmpprelay.config import Config
    from xmpprelay.people_csv import Known, PersonRow


@click.group(epilog="Example: xmpprelay people list")
def people() -> None:
    """See who is known; import and export people."""


@people.command("list", epilog="Example: xmpprelay people list")
@json_option
@config_option
def list_(as_json: bool, config_path: Path) -> None:
    """Print everybody who is known.

    With each stands how many he follows, and how many follow him.
    """
    config = load_config(config_path)
    from xmpprelay.store.queries import load_follows, load_people

    def ask(conn: "Connection") -> list[tuple[str, str | None, int, int]]:
        follows: Counter[int] = Counter()
        followers: Counter[int] = Counter()
        for each in load_follows(conn):
            follows[each.follower] += 1
            followers[each.author] += 1
        return [
            (who.jid, who.handle, follows[who.id], followers[who.id]) for who in load_people(conn)
        ]

    everybody = read_database(config, ask)
    header = ("jid", "handle", "follows", "followers")
    if as_json:
        print_json(dict(zip(header, who, strict=True)) for who in everybody)
    else:
        print_table(
            header,
            ((jid, handle or "", str(to), str(by)) for jid, handle, to, by in everybody),
        )


@people.command("export", epilog="Example: xmpprelay people export people.csv")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
def export(file: Path | None, config_path: Path) -> None:
    """Write everybody as CSV, to FILE or standard output.

    It is what `people import` reads. FILE must not be there yet.
    """
    config = load_config(config_path)
    from xmpprelay.people_csv import format_csv

    lines = [line.encode() for line in format_csv(read_database(config, _everybody))]
    if file is None:
        sys.stdout.buffer.write(b"".join(lines))
        return
    try:
        with file.open("xb") as output:
            output.write(b"".join(lines))
    except FileExistsError:
        raise XmppRelayError(f"{file} is there already: name another file.") from None
    click.echo(f"{len(lines) - 1} people are in {file}.", err=True)


@people.command("export-data", epilog="Example: xmpprelay people export-data bob@example.org")
@click.argument("jid")
@click.option("--atom", is_flag=True, help="His public posts alone, as an Atom feed.")
@config_option
def export_data(jid: str, atom: bool, config_path: Path) -> None:
    """Print all that is held of one person: one JSON object a line.

    Profile, handles, settings, follows and followers, blocks, mutes, groups, likes, posts, and the
    direct messages that he sent or got.
    """
    config = load_config(config_path)
    from xmpprelay.cli.feed import feed_of
    from xmpprelay.store.account import data_of

    wanted = jid.strip().lower()
    data = read_database(config, lambda conn: list(data_of(conn, wanted)))
    if not data:
        raise XmppRelayError(f"{wanted} is not known: `xmpprelay people list` shows who is.")
    if atom:
        click.echo(feed_of(wanted, config.xmpp.domain, data))
    else:
        print_json(data)


@people.command("tier", epilog="Example: xmpprelay people tier bbc outlet")
@click.argument("handle")
@click.argument("tier", type=click.Choice(["person", "outlet", "firehose", "auto"]))
@config_option
def tier(handle: str, tier: str, config_path: Path) -> None:
    """Say how much of an author comes live.

    All of a person's posts do, the first six of each hour of an outlet's, none of a firehose's; the
    rest comes by digest, unless a follower has chosen otherwise. `auto` goes by how much HANDLE
    posts. The relay may run, or not.
    """
    config = load_config(config_path)
    from xmpprelay import control

    name, pinned = handle.removeprefix("@").lower(), None if tier == "auto" else tier
    arguments = {"handle": name, "tier": pinned}
    try:
        asyncio.run(control.call(config.store.socket, "people.tier", arguments))
    except control.ControlUnavailable:
        asyncio.run(_pin(config, name, pinned))
    click.echo(f"@{name}: {tier}")


async def _pin(config: "Config", handle: str, tier: str | None) -> None:
    """Do it without a relay; StoreLocked if one has come meanwhile."""
    from xmpprelay.store.database import Database
    from xmpprelay.store.less import PinRow, pin_tier

    database = await Database.open(config.store.url, now=now)
    try:
        await database.write(pin_tier, PinRow(handle, tier))
    finally:
        await database.close()


@people.command("import", epilog="Example: xmpprelay people import people.csv")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def import_(file: Path, config_path: Path) -> None:
    """Make the people of a CSV file known.

    \b
    jid,handle,follows
    alice@example.org,alice,bob carol
    dave@other.org,,alice

    Handles may be empty. Follows are handles, separated by spaces. Whoever is known already stays
    as he is. The relay may run, or not.
    """
    config = load_config(config_path)
    from xmpprelay import control
    from xmpprelay.people_csv import parse_csv

    rows = parse_csv(_lines(file), _known(config), config.xmpp.domain, [config.xmpp.home])
    with progress("Importing") as tell:
        try:
            done = asyncio.run(
                control.call(
                    config.store.socket,
                    "people.import",
                    rows=[(row.jid, row.handle, row.follows) for row in rows],
                    on_progress=tell,
                )
            )
        except control.ControlUnavailable:
            done = asyncio.run(_import(config, rows, tell))
    click.echo(f"{done['people']} people imported, with {done['follows']} new follows.")


def _lines(file: Path) -> Iterator[str]:
    """The lines of a UTF-8 file; decoded one by one, so that a wrong one can be named."""
    with file.open("rb") as content:
        for line in content:
            yield line.decode()


def _known(config: "Config") -> "Known":
    """Who is in the database; nobody if there is none yet."""
    from xmpprelay.people_csv import Known
    from xmpprelay.store.queries import load_handles, load_people

    def ask(conn: "Connection") -> Known:
        jids = {who.id: who for who in load_people(conn)}
        return Known(
            people={who.jid: who.handle for who in jids.values()},
            handles={
                each.handle: None if each.person is None else jids[each.person].jid
                for each in load_handles(conn)
            },
        )

    return read_database(config, ask) if config.store.path.exists() else Known()


def _everybody(conn: "Connection") -> "list[PersonRow]":
    from xmpprelay.people_csv import PersonRow
    from xmpprelay.store.queries import load_follows, load_people

    everybody = {who.id: who for who in load_people(conn)}
    follows: dict[int, list[str]] = {}
    for each in load_follows(conn):
        author = everybody[each.author]
        if author.handle is not None:
            follows.setdefault(each.follower, []).append(author.handle)
    return [
        PersonRow(who.jid, who.handle, tuple(sorted(follows.get(who.id, ()))))
        for who in everybody.values()
    ]


async def _import(config: "Config", rows: "Sequence[PersonRow]", tell: Progress) -> dict[str, int]:
    """Do the import without a relay; StoreLocked if one has come meanwhile."""
    from xmpprelay.core.handles import skeleton
    from xmpprelay.store.bulk import CHUNK, ImportedPerson, import_follows, import_people
    from xmpprelay.store.database import Database
    from xmpprelay.store.keeping_out import COMMAND_LINE, AuditRow, add_audit
    from xmpprelay.store.operations import FollowRow
    from xmpprelay.store.queries import load_handles

    database = await Database.open(config.store.url, now=now)
    try:
        ids: dict[str, int] = {}
        for first in range(0, len(rows), CHUNK):
            chunk = [
                ImportedPerson(row.jid, row.handle, row.handle and skeleton(row.handle))
                for row in rows[first : first + CHUNK]
            ]
            for who in await database.write(import_people, chunk):
                ids[who.jid] = who.id
            tell(len(ids), 2 * len(rows))
        authors = await database.read(
            lambda conn: {each.handle: each.person for each in load_handles(conn)}
        )
        wanted = [
            FollowRow(ids[row.jid], author, limit=None, approved=True)
            for row in rows
            for author in (authors[handle] for handle in row.follows)
            if author is not None and author != ids[row.jid]
        ]
        new = 0
        for first in range(0, len(wanted), CHUNK):
            followed = await database.write(import_follows, wanted[first : first + CHUNK])
            new += sum(each.new for each in followed)
            tell(len(rows) * (len(wanted) + first) // len(wanted), 2 * len(rows))
        done = {"people": len(ids), "follows": new}
        subject = f"{len(ids)} people, {new} new follows"
        await database.write(add_audit, AuditRow(COMMAND_LINE, "people import", subject))
        return done
    finally:
        await database.close()
