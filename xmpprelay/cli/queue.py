"""What `journal` shows of the queue for the primary, and lets the operator do with it."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xmpprelay.cli.shared import (
    Progress,
    call_or_alone,
    config_option,
    load_config,
    now,
    number_of,
    print_json,
    print_table,
    progress,
    read_database,
    shown_time,
)
from xmpprelay.errors import XmppRelayError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from xmpprelay.config import Config
    from xmpprelay.core.insertion import Insertion
    from xmpprelay.core.model import Person
    from xmpprelay.store.insertion import Listed
    from xmpprelay.store.queue import Aged

AGE_HEADER = ("1m", "5m", "20m", "1h", "6h", "1d", "7d", "older")


# --- what waits ----------------------------------------------------------------------------------


def print_by_age(config: "Config", per: str, limit: int, *, as_json: bool) -> None:
    """Print how much waits in each span of age: all together first, then whose it is."""
    from xmpprelay.store.queue import by_age, linked_sites, people_called

    def ask(conn: "Connection") -> "tuple[list[Aged], dict[int, Person], dict[int, str]]":
        found = by_age(conn, now())
        return found, people_called(conn, [each.account for each in found]), linked_sites(conn)

    found, people, linked = read_database(config, ask)
    counts: dict[str, list[int]] = {}
    for each in found:
        site = linked.get(each.account, "") if config.primary.instances else ""
        whose = _account(each.account, people) if per == "account" else site or "primary"
        sums = counts.setdefault(whose, [0] * len(each.counts))
        counts[whose] = [a + b for a, b in zip(sums, each.counts, strict=True)]
    total = [sum(column) for column in zip(*counts.values(), strict=True)] or [0] * len(AGE_HEADER)
    most = sorted(counts.items(), key=lambda item: -sum(item[1]))[:limit]
    rows = [("TOTAL", total), *most]
    if as_json:
        print_json(
            {per: name, "total": sum(ages), "by_age": dict(zip(AGE_HEADER, ages, strict=True))}
            for name, ages in rows
        )
        return
    print_table(
        (per, "total", *AGE_HEADER),
        ([name, str(sum(ages)), *map(str, ages)] for name, ages in rows),
    )


def _account(account: int, people: "dict[int, Person]") -> str:
    """Whose account it is; the operator's own for all has no person."""
    person = people.get(account)
    if person is None:
        return "everybody"
    return f"@{person.handle}" if person.handle else person.jid


def print_in_states(config: "Config", states: Sequence[str], limit: int, *, as_json: bool) -> None:
    """Print what is in these states on its way to the primary, the oldest first."""
    from xmpprelay.core.insertion import State
    from xmpprelay.core.text import short_id
    from xmpprelay.store.insertion import list_open
    from xmpprelay.store.queue import people_called

    wanted = [State(each) for each in states]

    def ask(conn: "Connection") -> "tuple[list[Listed], dict[int, Person]]":
        found = list_open(conn, states=wanted, limit=limit)
        return found, people_called(conn, sorted({each.post.author for each in found}))

    found, people = read_database(config, ask)
    if as_json:
        print_json(
            row_json(each.row)
            | {
                "id": short_id(each.post.number),
                "author": people[each.post.author].jid,
                "text": each.post.text,
            }
            for each in found
        )
        return
    print_table(
        ("id", "since", "author", "what", "state", "tries", "why", "text"),
        (
            (
                f"#{short_id(each.post.number)}",
                shown_time(each.row.created),
                _account(each.post.author, people),
                _what(each.row),
                each.row.state.value,
                str(each.row.tries),
                _why(each.row),
                each.post.text,
            )
            for each in found
        ),
    )


def rows_as_lines(rows: "Iterable[Insertion]") -> list[str]:
    """What has become of a post at the primary: a line for each thing to be done there."""
    return [_line(row) for row in rows]


def _line(row: "Insertion") -> str:
    parts = [f"{_what(row)}: {row.state.value}"]
    if why := _why(row):
        parts[0] += f", {why}"
    if row.tries:
        times = "once" if row.tries == 1 else f"{row.tries} times"
        last = "" if row.last_sent is None else f", last {shown_time(row.last_sent)}"
        parts.append(f"sent {times}{last}")
    if row.due is not None:
        parts.append(f"next {shown_time(row.due)}")
    if row.remote_id is not None:
        there = row.remote_id if row.remote_url is None else f"{row.remote_id}, {row.remote_url}"
        parts.append(f"there {there}")
    return "; ".join(parts)


def _what(row: "Insertion") -> str:
    part = f", part {row.part}" if row.part else ""
    return f"{row.act.value}{part}"


def _why(row: "Insertion") -> str:
    return f"{row.reason} ({row.detail})" if row.detail else row.reason


def row_json(row: "Insertion") -> dict[str, Any]:
    """A row for programs."""
    return {
        "act": row.act.value,
        "part": row.part,
        "state": row.state.value,
        "created": row.created.isoformat(),
        "due": None if row.due is None else row.due.isoformat(),
        "tries": row.tries,
        "first_sent": None if row.first_sent is None else row.first_sent.isoformat(),
        "last_sent": None if row.last_sent is None else row.last_sent.isoformat(),
        "remote_id": row.remote_id,
        "remote_url": row.remote_url,
        "service": None if row.where is None else row.where.service,
        "visibility": None if row.visibility is None else row.visibility.value,
        "reason": row.reason,
        "detail": row.detail,
    }


# --- orders --------------------------------------------------------------------------------------


@click.command(epilog="Example: xmpprelay journal retry --held")
@click.argument("post_id", metavar="ID", required=False)
@click.option("--held", is_flag=True, help="All that is held: nobody knows whether it is there.")
@click.option("--parked", is_flag=True, help="All that is parked: too old, or it failed each time.")
@click.option("--all", "everything", is_flag=True, help="All of both, and what was refused.")
@config_option
def retry(
    post_id: str | None, held: bool, parked: bool, everything: bool, config_path: Path
) -> None:
    """Send a post to the primary again.

    It waits as if it were new. Where it may be there it is looked for first, but for what is held,
    which looking has not found: look yourself before. The relay may run, or not.
    """
    if sum((post_id is not None, held or parked, everything)) != 1:
        raise click.UsageError("Give an ID, or --held, --parked or --all.")
    chosen = ["held"] * held + ["parked"] * parked or ["held", "parked", "refused"]
    done = _order(load_config(config_path), "retry", post_id, chosen, None, "Sending again")
    click.echo(f"{_posts(done)} will be sent to the primary again.")


@click.command(epilog="Example: xmpprelay journal hold k3f")
@click.argument("post_id", metavar="ID")
@config_option
def hold(post_id: str, config_path: Path) -> None:
    """Keep a post back from the primary.

    It is parked until `journal retry ID`; what its author posts after it goes on. The relay may
    run, or not.
    """
    _order(load_config(config_path), "hold", post_id, ["queued"], None, "Holding")
    click.echo(f"The post is held back until `xmpprelay journal retry {post_id}`.")


@click.command(epilog="Example: xmpprelay journal drop --older 30d")
@click.argument("post_id", metavar="ID", required=False)
@click.option("--older", metavar="SPAN", help="All that has waited for longer, such as 12h or 30d.")
@config_option
def drop(post_id: str | None, older: str | None, config_path: Path) -> None:
    """Never insert a post into the primary.

    It stays in the journal. What is on its way, or has to be looked for first, stays in the queue.
    The relay may run, or not.
    """
    if (post_id is None) == (older is None):
        raise click.UsageError("Give an ID, or --older SPAN.")
    span = None if older is None else span_of(older)
    states = ["queued", "held", "parked"]
    done = _order(load_config(config_path), "drop", post_id, states, span, "Dropping")
    click.echo(f"{_posts(done)} will not be inserted.")


def _posts(count: int) -> str:
    return "1 post" if count == 1 else f"{count} posts"


def span_of(typed: str) -> timedelta:
    """The span that somebody means by 90m, 12h or 30d."""
    number, unit = typed[:-1], typed[-1:].lower()
    seconds = {"m": 60, "h": 3600, "d": 86_400}.get(unit, 0)
    if not (number.isascii() and number.isdigit() and seconds) or len(number) > 6:
        raise click.UsageError(f'"{typed}" is no span of time: give one such as 90m, 12h or 30d.')
    return timedelta(seconds=int(number) * seconds)


def _order(
    config: "Config",
    verb: str,
    post_id: str | None,
    states: Sequence[str],
    older: timedelta | None,
    what: str,
) -> int:
    """Let the relay carry an order out, or do it without one; how many posts it has changed."""
    number = None
    if post_id is not None:
        number = number_of(post_id)
        if number is None:
            raise XmppRelayError(
                f'There is no post "{post_id}": `xmpprelay journal list` shows which there are.'
            )
    arguments = {
        "verb": verb,
        "number": number,
        "states": list(states),
        "older_s": None if older is None else older.total_seconds(),
    }
    with progress(what) as tell:
        done = call_or_alone(
            config, "journal.order", arguments, lambda: _alone(config, arguments, tell), tell=tell
        )
    return int(done["posts"])


async def _alone(config: "Config", arguments: dict[str, Any], tell: Progress) -> dict[str, int]:
    """Do it without a relay; StoreLocked if one has come meanwhile."""
    from xmpprelay.store.database import Database
    from xmpprelay.store.keeping_out import COMMAND_LINE, AuditRow, add_audit
    from xmpprelay.trickle.orders import carry_out, noted, order_of

    order = order_of(arguments)
    database = await Database.open(config.store.url, now=now)
    try:
        posts = await carry_out(database, order, now(), progress=tell)
        await database.write(add_audit, AuditRow(COMMAND_LINE, *noted(order, posts)))
    finally:
        await database.close()
    return {"posts": posts}
