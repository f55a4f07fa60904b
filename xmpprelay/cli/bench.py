"""`bench`: the relay beside the server's own pubsub, measured on the operator's own server."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from xmpprelay.cli.shared import complain, config_option, load_config, now, progress
from xmpprelay.errors import XmppRelayError

if TYPE_CHECKING:
    from xmpprelay.bench.dialogues import Login
    from xmpprelay.bench.operating import Outcome, Place
    from xmpprelay.config import Config

CLIENT_PORT: Final = 5222
_COUNT: Final = click.IntRange(min=1)


@click.command(epilog="Example: xmpprelay bench --accounts accounts.csv --followers 100")
@config_option
@click.option(
    "--accounts",
    "accounts_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Accounts made for this: CSV, the first line jid,password.",
)
@click.option(
    "--register",
    is_flag=True,
    help="Make the accounts by in-band registration (XEP-0077), and remove them.",
)
@click.option("--followers", type=_COUNT, default=100, show_default=True, help="Who get each post.")
@click.option("--rounds", type=_COUNT, default=5, show_default=True, help="Of these come medians.")
@click.option("--burst", type=_COUNT, default=20, show_default=True, help="Posts at once.")
@click.option("--posts", type=_COUNT, default=20, show_default=True, help="Posts one at a time.")
@click.option(
    "--server",
    metavar="HOST[:PORT]",
    help=f"Where clients connect to; by default [xmpp] host, port {CLIENT_PORT}.",
)
@click.option(
    "--tls",
    type=click.Choice(("checked", "unchecked", "none")),
    default="checked",
    show_default=True,
    help="`unchecked` takes any certificate, `none` sends passwords in the clear.",
)
@click.option(
    "--ca-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The authority of the server's certificate, PEM; by default the system's.",
)
@click.option(
    "--domain", metavar="DOMAIN", help="Another component domain; needed beside a live relay."
)
@click.option(
    "--secret-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The secret of that domain.",
)
@click.option(
    "--server-pid", type=int, metavar="PID", help="The server's process, to tell what it uses."
)
@click.option(
    "--json", "json_path", metavar="FILE", type=click.Path(path_type=Path), help="All figures."
)
def bench(
    config_path: Path,
    accounts_path: Path | None,
    register: bool,
    followers: int,
    rounds: int,
    burst: int,
    posts: int,
    server: str | None,
    tls: str,
    ca_file: Path | None,
    domain: str | None,
    secret_file: Path | None,
    server_pid: int | None,
    json_path: Path | None,
) -> int:
    """Measure the relay beside your server's own pubsub.

    Followers log in to your XMPP server and get the same posts in two ways, in turn: from a PEP
    node, and from a relay that is started for this alone, with a database of its own. In each round
    there is a burst of posts, and then posts one at a time. What was made on the server is removed
    at the end, also after Ctrl-C.

    The accounts have to be there before, one more than followers. On the server's machine:

    \b
    umask 077
    (echo jid,password; for n in $(seq 0 100); do p=$(openssl rand -hex 8)
    prosodyctl register bench$n example.org $p >&2
    echo bench$n@example.org,$p; done) > accounts.csv

    With ejabberd it is `ejabberdctl register` with the same arguments. `prosodyctl deluser
    bench0@example.org` and `ejabberdctl unregister bench0 example.org` remove one again.

    A relay that runs, or has people, is not disturbed: add a second component to the server's
    configuration for this, and name it with --domain and --secret-file.
    """
    if (accounts_path is None) == (not register):
        raise click.UsageError("Give either --accounts FILE or --register.")
    if (domain is None) != (secret_file is None):
        raise click.UsageError("--domain and --secret-file belong together.")
    config = load_config(config_path)
    from xmpprelay.bench.measuring import Plan
    from xmpprelay.bench.operating import NAMES, may_be_used
    from xmpprelay.bench.operating import bench as measure
    from xmpprelay.bench.telling import as_json, table

    plan = Plan(followers, rounds, burst, posts)
    logins = _logins(config, accounts_path, followers)
    place = _place(config, logins[0].domain, server, tls, ca_file, domain, secret_file, server_pid)
    if json_path is not None:
        json_path.open("a").close()  # now, not when all is measured

    async def do() -> "Outcome":
        if place.component_domain == config.xmpp.domain:
            await may_be_used(config)
        return await measure(
            place,
            logins,
            plan,
            makes=register,
            stage=progress,
            warn=complain,
        )

    outcome = asyncio.run(do())
    for line in table(outcome.title, plan, outcome.found, NAMES):
        click.echo(line)
    if json_path is not None:
        when = now().isoformat(timespec="seconds")
        told = {"when": when, "plan": asdict(plan), **as_json(outcome.title, outcome.found)}
        json_path.write_text(json.dumps(told, indent=1) + "\n")
    if not outcome.found.account.well:
        raise XmppRelayError("Posts were lost, or came twice.")
    return 1 if outcome.left else 0


def _logins(config: "Config", file: Path | None, followers: int) -> "list[Login]":
    from xmpprelay.bench.accounts import new_accounts, parse_accounts

    if file is None:
        return new_accounts(config.xmpp.local_domains[0], followers)
    with ExitStack() as opened:
        return parse_accounts(_lines(file, opened), str(file), followers)


def _lines(file: Path, opened: ExitStack) -> Iterator[str]:
    """The lines of a UTF-8 file; decoded one by one, so that a wrong one can be named."""
    for line in opened.enter_context(file.open("rb")):
        yield line.decode("utf-8-sig")


def _place(
    config: "Config",
    accounts_domain: str,
    server: str | None,
    tls: str,
    ca_file: Path | None,
    domain: str | None,
    secret_file: Path | None,
    server_pid: int | None,
) -> "Place":
    from xmpprelay.bench.dialogues import Tls, Where
    from xmpprelay.bench.operating import Place
    from xmpprelay.config.addresses import domain_name

    xmpp = config.xmpp
    secret = xmpp.secret.reveal()
    if domain is not None and secret_file is not None:
        secret = _secret(secret_file)
        try:
            domain = domain_name(domain)
        except ValueError as error:
            raise click.UsageError(f"--domain: {domain} {error}.") from None
    host, port = _host_and_port(server, xmpp.host)
    authority = None if ca_file is None else str(ca_file)
    clients = Where(host, port, Tls(tls), authority)
    component = (domain or xmpp.domain, secret, xmpp.host, xmpp.port)
    return Place(accounts_domain, *component, clients, server_pid)


def _secret(file: Path) -> str:
    from xmpprelay.config.values import one_line_secret

    try:
        return one_line_secret(file.read_text().strip()).reveal()
    except ValueError:
        raise XmppRelayError(f"{file} has to have the secret in it, and nothing else.") from None


def _host_and_port(server: str | None, default: str) -> tuple[str, int]:
    if server is None:
        return default, CLIENT_PORT
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):  # of an IPv6 address
        return server.strip("[]"), CLIENT_PORT
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.UsageError(f"--server: {server} is no HOST or HOST:PORT.")
    return host.strip("[]"), int(port)
