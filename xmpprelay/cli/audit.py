"""`audit`: what operators and admins have done."""

from pathlib import Path

import click

from xmpprelay.cli.shared import (
    config_option,
    json_option,
    load_config,
    print_json,
    print_table,
    read_database,
)


@click.command(epilog="Example: xmpprelay audit --limit 100")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many entries.",
)
@json_option
@config_option
def audit(limit: int, as_json: bool, config_path: Path) -> None:
    """Print what operators have done, the newest first.

    It says when, by whom, what, and to whom. Nothing is ever taken out of it.
    """
    config = load_config(config_path)
    from xmpprelay.store.keeping_out import list_audit

    entries = read_database(config, lambda conn: list_audit(conn, limit))
    header = ("time", "who", "action", "subject")
    rows = [(f"{e.at:%Y-%m-%dT%H:%M:%SZ}", e.who, e.action, e.subject) for e in entries]
    if as_json:
        print_json(dict(zip(header, row, strict=True)) for row in rows)
    else:
        print_table(header, rows)
