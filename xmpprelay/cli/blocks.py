"""`block`, `unblock` and `blocks`: whom the operator keeps out."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from xmpprelay.cli.shared import (
    config_option,
    json_option,
    load_config,
    now,
    print_json,
    print_table,
    read_database,
)

if TYPE_CHECKING:
    from xmpprelay.config import Config


@click.command(epilog="Example: xmpprelay block *.spam.org")
@click.argument("target")
@config_option
def block(target: str, config_path: Path) -> None:
    """Let nothing pass to or from TARGET.

    TARGET is a handle (@bob), a bare JID, a domain (spam.org), or all below one (*.spam.org). It
    counts at once, also for what is queued. Nobody is told, but who is blocked and writes is
    refused. Follows are kept, and count again after `unblock`. The relay may run, or not.
    """
    blocked, new = _do(load_config(config_path), "block", target)
    click.echo(f"{blocked} is blocked now." if new else f"{blocked} was blocked already.")


@click.command(epilog="Example: xmpprelay unblock *.spam.org")
@click.argument("target")
@config_option
def unblock(target: str, config_path: Path) -> None:
    """End a block of yours; TARGET as in `blocks`.

    The relay may run, or not.
    """
    unblocked, there = _do(load_config(config_path), "unblock", target)
    click.echo(
        f"{unblocked} is not blocked any more."
        if there
        else f"{unblocked} was not blocked; `xmpprelay blocks` lists who is."
    )


@click.command(epilog="Example: xmpprelay blocks")
@json_option
@config_option
def blocks(as_json: bool, config_path: Path) -> None:
    """Print whom you block.

    The blocks of people are theirs, and not shown.
    """
    config = load_config(config_path)
    from xmpprelay.core.blocks import OPERATOR
    from xmpprelay.store.keeping_out import list_blocks

    found = read_database(config, lambda conn: list_blocks(conn, OPERATOR))
    header = ("target", "since")
    rows = [(target, f"{since:%Y-%m-%dT%H:%M:%SZ}") for target, since in found]
    if as_json:
        print_json(dict(zip(header, row, strict=True)) for row in rows)
    else:
        print_table(header, rows)


def _do(config: "Config", command: str, target: str) -> tuple[str, bool]:
    """Let the relay do it, or do it without one; the target, and whether anything changed."""
    from xmpprelay import control

    call = control.call(config.store.socket, command, {"target": target})
    try:
        done = asyncio.run(call)
    except control.ControlUnavailable:
        done = asyncio.run(_do_alone(config, command, target))
    return cast("tuple[str, bool]", tuple(done))


async def _do_alone(config: "Config", command: str, typed: str) -> tuple[str, bool]:
    """Do it without a relay; StoreLocked if one has come meanwhile."""
    from xmpprelay.core.blocks import OPERATOR
    from xmpprelay.keeping_out import read_target, spare_relay
    from xmpprelay.store.database import Database
    from xmpprelay.store.keeping_out import (
        COMMAND_LINE,
        BlockRow,
        add_block,
        end_block,
        jid_of_handle,
    )

    database = await Database.open(config.store.url, now=now)
    try:
        target = await database.read(
            lambda conn: read_target(
                typed, config.xmpp.domain, lambda name: jid_of_handle(conn, name)
            )
        )
        row = BlockRow(OPERATOR, target, COMMAND_LINE)
        if command == "unblock":
            return target, await database.write(end_block, row)
        spare_relay(target, config.xmpp.domain)
        return target, (await database.write(add_block, row)).new
    finally:
        await database.close()
