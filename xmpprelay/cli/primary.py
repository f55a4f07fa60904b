"""`primary`: how the primary service is, and what the operator decides about it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from xmpprelay.cli.shared import (
    call_or_alone,
    config_option,
    json_option,
    load_config,
    now,
    plain,
    print_json,
    read_database,
    shown_time,
)
from xmpprelay.errors import XmppRelayError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from xmpprelay.config import Config
    from xmpprelay.store.outages import Outage
    from xmpprelay.trickle.standby import Situation

T = TypeVar("T")

OUTAGES: Final = 5
"""Outages of each primary that are told."""

_FLAGS: Final = ("on", "off", "auto")

_STATES: Final = {
    "online": "online",
    "trickle": "online, and catching up",
    "standby": "on standby",
    "unknown": "not known: the relay does not run",
}


@click.group(epilog="Example: xmpprelay primary status")
def primary() -> None:
    """See how the primary service is, and put it on standby."""


# --- status --------------------------------------------------------------------------------------


@primary.command(epilog="Example: xmpprelay primary status")
@json_option
@config_option
def status(as_json: bool, config_path: Path) -> None:
    """Print how each primary is, and what waits for it.

    With --json the field "urn:xmpp:sos:0" is a standby in the form of XEP-0455, or null. Where no
    relay runs it is said what the last one has left.
    """
    config = load_config(config_path)
    sites = _sites(config, None)
    live = _live(config)
    found = [
        _stored(config, site, depth, outages) | live.get(site, {})
        for site, (depth, outages) in _from_database(config, sites).items()
    ]
    for each in found:
        each["through_in_s"] = _through_in_s(each)
        each["urn:xmpp:sos:0"] = _outage_status(each)
    if as_json:
        print_json(found)
        return
    if not live:
        click.echo("The relay does not run; this is what it has left.")
    for each in found:
        for line in _lines(each):
            click.echo(plain(line))


def _live(config: "Config") -> dict[str, dict[str, Any]]:
    """What the running relay says of each primary; nothing: none runs."""
    from xmpprelay import control

    try:
        found = asyncio.run(control.call(config.store.socket, "primary.status"))
    except control.ControlUnavailable:
        return {}
    return {each["site"]: each | {"relay_runs": True} for each in found}


def _from_database(
    config: "Config", sites: Sequence[str]
) -> "dict[str, tuple[dict[str, Any], list[Outage]]]":
    """How much waits for each primary and since when, and when it was away."""
    from xmpprelay.store.outages import list_outages, remembered
    from xmpprelay.store.queue import depths, linked_sites

    def ask(conn: "Connection") -> "dict[str, tuple[dict[str, Any], list[Outage]]]":
        linked = linked_sites(conn) if config.primary.instances else {}
        every, outages = depths(conn), list_outages(conn, OUTAGES * len(sites))
        found = {}
        for site in sites:
            mine = [each for each in every if linked.get(each.account, "") == site]
            known = remembered(conn, site)
            kept = {
                state: sum(n for each in mine for s, n in each.kept.items() if s == state)
                for state in ("held", "parked", "refused")
            }
            found[site] = (
                {
                    "waiting": sum(each.waiting for each in mine),
                    "oldest": min((e.oldest for e in mine if e.oldest), default=None),
                    "flag": known.flag.value,
                    "since": known.away_since,
                    "reason": known.reason,
                    **kept,
                },
                [each for each in outages if each.site == site][:OUTAGES],
            )
        return found

    return read_database(config, ask)


def left_behind(config: "Config") -> "list[Situation]":
    """How each primary is, as far as the last run has left it."""
    from xmpprelay.core.health import Flag, Stance
    from xmpprelay.trickle.standby import Situation

    found = _from_database(config, _sites(config, None))
    return [
        Situation(
            site=site,
            stance=Stance.STANDBY,
            since=depth["since"],
            waiting=depth["waiting"],
            oldest=depth["oldest"],
            per_second=0.0,
            reason=depth["reason"],
            detail="",
            flag=Flag(depth["flag"]),
        )
        for site, (depth, _) in found.items()
    ]


def _stored(
    config: "Config", site: str, depth: dict[str, Any], outages: "list[Outage]"
) -> dict[str, Any]:
    away = depth["since"] is not None or depth["flag"] == "on"
    return {
        "site": site,
        "driver": config.primary.driver,
        "relay_runs": False,
        "state": "standby" if away else "unknown",
        "since": _iso(depth["since"]),
        "reason": depth["reason"],
        "detail": "",
        "flag": depth["flag"],
        "waiting": depth["waiting"],
        "oldest": _iso(depth["oldest"]),
        "per_second": 0.0,
        "held": depth["held"],
        "parked": depth["parked"],
        "refused": depth["refused"],
        "outages": [
            {
                "began": _iso(each.began),
                "ended": _iso(each.ended),
                "reason": each.reason,
                "waiting_at_its_end": each.carried,
            }
            for each in outages
        ],
    }


def _through_in_s(each: dict[str, Any]) -> int | None:
    """How long it will take at the present rate; None: nobody knows."""
    if each["state"] == "standby" or not each["waiting"] or not each["per_second"]:
        return None
    return round(int(each["waiting"]) / float(each["per_second"]))


def _outage_status(each: dict[str, Any]) -> dict[str, Any] | None:
    """A standby as XEP-0455 §2.2 has it; when it will end nobody knows."""
    from xmpprelay.overview import outage_of

    if each["since"] is None:
        return None
    sentence = (
        f"{_name(each)} is on standby. Posts reach followers at once, and are inserted there later."
    )
    began = datetime.fromisoformat(each["since"])
    return outage_of(began, sentence, planned=each["reason"] == "operator")


def _lines(each: dict[str, Any]) -> list[str]:
    from xmpprelay.trickle.announcing import span

    at = now()
    state = _STATES[each["state"]]
    if each["since"] is not None:
        began = datetime.fromisoformat(each["since"])
        state += f" since {shown_time(began)} ({span(at - began)})"
    why = ": ".join(filter(None, (each["reason"], each["detail"])))
    lines = [f"primary   {each['site'] or each['driver']}", f"state     {state}"]
    if why:
        lines.append(f"because   {why}")
    if each["flag"] != "auto":
        lines.append(f"operator  has set standby {each['flag']}")
    waiting = f"waiting   {each['waiting']} posts"
    if each["oldest"] is not None:
        waiting += f", the oldest for {span(at - datetime.fromisoformat(each['oldest']))}"
    lines.append(waiting)
    if each["per_second"]:
        rate = f"rate      {each['per_second'] * 60:.0f} a minute"
        if each["through_in_s"] is not None:
            rate += f", through in {span(timedelta(seconds=each['through_in_s']))}"
        lines.append(rate)
    lines.append(
        f"kept      {each['held']} held, {each['parked']} parked, {each['refused']} refused"
    )
    lines += [f"outage    {_outage_line(outage)}" for outage in each["outages"]]
    return lines


def _outage_line(outage: dict[str, Any]) -> str:
    from xmpprelay.trickle.announcing import span

    began = datetime.fromisoformat(outage["began"])
    if outage["ended"] is None:
        return f"{shown_time(began)}, lasts: {outage['reason']}"
    lasted = span(datetime.fromisoformat(outage["ended"]) - began)
    waiting = outage["waiting_at_its_end"]
    return f"{shown_time(began)}, for {lasted}: {outage['reason']}; {waiting} waited at its end"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


# --- standby -------------------------------------------------------------------------------------


@primary.command(epilog="Example: xmpprelay primary standby on")
@click.argument("flag", metavar="on|off|auto", type=click.Choice(_FLAGS))
@click.argument("site", required=False)
@config_option
def standby(flag: str, site: str | None, config_path: Path) -> None:
    """Let nothing be inserted (on), or always (off).

    `auto`, the default, goes by how the primary answers. What is set is kept until it is changed.
    SITE is one of several instances. The relay may run, or not.
    """
    config = load_config(config_path)
    sites = _sites(config, site)
    arguments = {"flag": flag, "sites": list(sites)}
    call_or_alone(config, "primary.standby", arguments, lambda: _set_alone(config, flag, sites))
    words = {
        "on": "on standby until `xmpprelay primary standby auto`",
        "off": "never on standby until `xmpprelay primary standby auto`",
        "auto": "on standby when it does not answer, and only then",
    }
    for each in sites:
        click.echo(f"{_name({'site': each})} is {words[flag]}.")


async def _set_alone(config: "Config", flag: str, sites: Sequence[str]) -> None:
    """Do it without a relay; StoreLocked if one has come meanwhile."""
    from xmpprelay.core.health import Flag
    from xmpprelay.store.database import Database
    from xmpprelay.store.keeping_out import COMMAND_LINE, AuditRow, add_audit
    from xmpprelay.store.outages import set_flag

    database = await Database.open(config.store.url, now=now)
    try:
        for site in sites:
            await database.write(set_flag, (site, Flag(flag)))
            note = AuditRow(COMMAND_LINE, f"standby {flag}", site or "primary")
            await database.write(add_audit, note)
    finally:
        await database.close()


# --- probe ---------------------------------------------------------------------------------------


@primary.command(epilog="Example: xmpprelay primary probe")
@click.argument("site", required=False)
@config_option
def probe(site: str | None, config_path: Path) -> int:
    """Ask the primary now how it is; 0 if it is there.

    Nothing is written to it. SITE is one of several instances. The relay may run, or not.
    """
    config = load_config(config_path)
    sites = _sites(config, site)
    arguments = {"sites": list(sites)}
    found = call_or_alone(config, "primary.probe", arguments, lambda: _probe_alone(config, sites))
    for each in found:
        click.echo(plain(_probe_line(each)))
    return 0 if all(each["reach"] == "up" for each in found) else 1


async def _probe_alone(config: "Config", sites: Sequence[str]) -> list[dict[str, Any]]:
    from xmpprelay.core.primary import EVERYBODY, Account
    from xmpprelay.inserting import drivers_of
    from xmpprelay.operating import probed

    if config.primary.driver == "pubsub":
        raise XmppRelayError(
            "A pubsub service is asked over the relay's own connection: start the relay first."
        )
    token = config.primary.token.reveal()
    account = Account(EVERYBODY, token=token) if token else None
    drivers = drivers_of(config.primary, _nobody_asks)
    try:
        return [probed(site, await drivers[site].probe(account)) for site in sites]
    finally:
        for driver in drivers.values():
            await driver.aclose()


async def _nobody_asks(to: str, kind: str, payload: Any) -> Any:
    raise AssertionError("only the pubsub driver asks over XMPP")


def _probe_line(found: dict[str, Any]) -> str:
    name = _name(found)
    if found["reach"] == "up":
        limit = found["max_chars"]
        most = f", with at most {limit} characters a post" if limit else ""
        return f"{name} is there: {found['software']}{most}."
    why = ": ".join(filter(None, (found["reason"], found["detail"]))) or "it does not say why"
    if found["reach"] == "auth":
        return f"{name} is there, and refuses the credentials ({why})."
    return f"{name} is not there ({why})."


# --- in common -----------------------------------------------------------------------------------


def _sites(config: "Config", typed: str | None) -> Sequence[str]:
    """The names of the primaries that are meant; all of them where none is typed."""
    from xmpprelay.config import host_of

    primary = config.primary
    if primary.driver == "none":
        raise XmppRelayError(
            "There is no primary service: name one in the configuration, under [primary]."
        )
    sites = primary.instances or ("",)
    if typed is None:
        return sites
    found = [each for each in sites if each and typed.lower() in (each, host_of(each))]
    if not found:
        names = ", ".join(host_of(each) for each in sites if each)
        which = f"name one of {names}" if names else "there is only one, so name none"
        raise XmppRelayError(f"{typed} is no primary of this relay: {which}.")
    return found


def _name(of: dict[str, Any]) -> str:
    return f"The primary {of['site'].partition('://')[2]}" if of["site"] else "The primary"
