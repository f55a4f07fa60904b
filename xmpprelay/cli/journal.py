"""`journal`: what has been posted, and where each post is on its way."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xmpprelay.cli.journal_files import export, import_
from xmpprelay.cli.queue import (
    drop,
    hold,
    print_by_age,
    print_in_states,
    retry,
    row_json,
    rows_as_lines,
)
from xmpprelay.cli.shared import (
    config_option,
    json_option,
    load_config,
    number_of,
    plain,
    print_json,
    print_table,
    read_database,
    shown_time,
)
from xmpprelay.errors import XmppRelayError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from xmpprelay.core.insertion import Insertion
    from xmpprelay.core.model import Post
    from xmpprelay.store.queries import ListedPost, Trace

STATES = ("queued", "sending", "unknown", "held", "inserted", "refused", "parked", "cancelled")


@click.group(epilog="Example: xmpprelay journal list --limit 5")
def journal() -> None:
    """Look into the journal, in which every post is kept."""


@journal.command("list", epilog="Example: xmpprelay journal list --limit 5")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 1_000_000),
    default=20,
    show_default=True,
    help="How many lines.",
)
@click.option(
    "--by-age",
    "by_age",
    metavar="[account|site]",
    type=click.Choice(["account", "site"]),
    is_flag=False,
    flag_value="account",
    help="How much waits for the primary, of whom, and for how long.",
)
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES),
    multiple=True,
    help="What is in that state on its way to the primary; may be given again.",
)
@json_option
@config_option
def list_(
    limit: int, by_age: str | None, states: tuple[str, ...], as_json: bool, config_path: Path
) -> None:
    """Print the newest posts, the newest first.

    "going out" means that some of the followers who are online have not had the post for certain.
    With --by-age or --state it is about the queue for the primary.
    """
    if by_age and states:
        raise click.UsageError("Give --by-age or --state, not both.")
    config = load_config(config_path)
    if by_age:
        print_by_age(config, by_age, limit, as_json=as_json)
        return
    if states:
        print_in_states(config, states, limit, as_json=as_json)
        return
    from xmpprelay.core.text import short_id
    from xmpprelay.store.queries import list_posts, open_fanouts

    def ask(conn: "Connection") -> "tuple[list[ListedPost], Counter[int]]":
        lanes = Counter(cursor.number for cursor in open_fanouts(conn))
        return list_posts(conn, limit=limit), lanes

    posts, lanes = read_database(config, ask)
    if as_json:
        print_json(
            _post_json(each.post, each.jid, each.handle) | {"open_lanes": lanes[each.post.number]}
            for each in posts
        )
        return
    print_table(
        ("id", "accepted", "author", "state", "text"),
        (
            (
                f"#{short_id(each.post.number)}",
                shown_time(each.post.created),
                f"@{each.handle}" if each.handle else each.jid,
                "going out" if lanes[each.post.number] else "out",
                each.post.text,
            )
            for each in posts
        ),
    )


@journal.command(epilog="Example: xmpprelay journal trace k3f")
@click.argument("post_id", metavar="ID")
@json_option
@config_option
def trace(post_id: str, as_json: bool, config_path: Path) -> None:
    """Print what is known of one post's way.

    That is who wrote it, where it is still going out, how many wait for it, and what has become of
    it at the primary. ID is the short
    one, as in #k3f, or the message's own, as in k3f.abc123.
    """
    config = load_config(config_path)
    from xmpprelay.core.text import short_id
    from xmpprelay.store.insertion import rows_of_post
    from xmpprelay.store.queries import trace as ask

    number = number_of(post_id)

    def look(conn: "Connection") -> "tuple[Trace, list[Insertion]] | None":
        traced = None if number is None else ask(conn, number)
        return None if traced is None else (traced, rows_of_post(conn, traced.post.number))

    looked = read_database(config, look)
    if looked is None:
        raise XmppRelayError(
            f'There is no post "{post_id}": `xmpprelay journal list` shows which there are.'
        )
    found, rows = looked
    if as_json:
        print_json([_trace_json(found, rows)])
        return
    post, author = found.post, found.author
    handle = f" (@{author.handle})" if author.handle else ""
    click.echo(f"post      #{short_id(post.number)}, number {post.number}")
    click.echo(f"author    {plain(author.jid)}{handle}")
    click.echo(f"accepted  {shown_time(post.created)}")
    click.echo(f"language  {plain(post.lang or 'not said')}")
    click.echo(f"text      {plain(post.text)}")
    for cursor in found.cursors:
        lane = cursor.lane or "the server's own domains"
        click.echo(f"going out {plain(lane)}: confirmed up to person {cursor.position}")
    if not found.cursors:
        click.echo("sent      to everybody who was online")
    click.echo(f"waiting   {found.waiting} followers who are away will get it on their return")
    for line in rows_as_lines(rows):
        click.echo(f"primary   {plain(line)}")


for command in (retry, hold, drop, export, import_):
    journal.add_command(command)


def _post_json(post: "Post", jid: str, handle: str | None) -> dict[str, Any]:
    from xmpprelay.core.text import short_id

    return {
        "id": short_id(post.number),
        "number": post.number,
        "accepted": post.created.isoformat(),
        "author": {"jid": jid, "handle": handle},
        "lang": post.lang,
        "text": post.text,
    }


def _trace_json(found: "Trace", rows: "list[Insertion]") -> dict[str, Any]:
    return _post_json(found.post, found.author.jid, found.author.handle) | {
        "open_lanes": [
            {"lane": cursor.lane, "confirmed_up_to": cursor.position} for cursor in found.cursors
        ],
        "waiting_followers": found.waiting,
        "insertions": [row_json(row) for row in rows],
    }
