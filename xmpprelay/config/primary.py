"""The checks of [primary] that concern several options: what each driver needs, and does not use.

An option that has its default counts as left out, so that one may keep the whole sample and change
the driver in it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from xmpprelay.config.files import SecretOption, check_certificates, find_secret
from xmpprelay.config.options import OPTIONS
from xmpprelay.config.problems import Problems
from xmpprelay.config.values import base_url, database_url, web_url, webhook_secret

_USED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "url": ("sql", "mastodon", "webhook"),
    "table": ("sql",),
    "instances": ("mastodon",),
    "service": ("pubsub",),
    "node": ("pubsub",),
    "secret_file": ("webhook",),
    "secret": ("webhook",),
    "token_file": ("mastodon",),
    "token": ("mastodon",),
    "ca_file": ("mastodon", "webhook"),
    "read_back": ("mastodon",),
}
"""The drivers that use an option; all of them use one that is not here."""

_URLS: Final[Mapping[str, tuple[Callable[[str], str], str]]] = {
    "sql": (database_url, "sqlite:// and an absolute path, or postgresql://user@host/name"),
    "mastodon": (base_url, "the address of the instance, such as https://social.example"),
    "webhook": (web_url, "the address of the receiver, such as https://example.org/posts"),
}
"""How a driver's URL is checked, and what it must be."""

_SECRETS: Final = {
    "webhook": SecretOption("primary", "secret", webhook_secret),
    "mastodon": SecretOption("primary", "token"),
}


def check_primary(
    given: Mapping[str, Any],
    values: dict[str, Any],
    folder: Path,
    others: Mapping[str, Mapping[str, Any]],
    problems: Problems,
) -> None:
    """Check the table as a whole; `values` are its good values, `others` those of all tables."""
    driver = values.get("driver", "none")
    if "driver" in given and "driver" not in values:
        return  # told already; nothing can be said of the rest
    for key, drivers in _USED_BY.items():
        if driver not in drivers and _is_set(key, given, values):
            problems.add("primary", key, _not_used(drivers, driver))
    if driver in _URLS:
        _check_url(driver, given, values, others, problems)
    if driver == "mastodon":
        _check_instances(given, values, problems)
    if driver == "pubsub":
        _check_service(given, values, others, problems)
    if driver in _SECRETS:
        _find_secret(driver, given, values, folder, problems)
    if values.get("ca_file") and driver in _USED_BY["ca_file"]:
        file = folder / values["ca_file"]
        values["ca_file"] = str(file)
        try:
            check_certificates(file)
        except ValueError as error:
            problems.add("primary", "ca_file", f"{file} {error}; name a file with certificates")


def _is_set(key: str, given: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether an option has another value than its default; a wrong one is told already."""
    return key in given and key in values and values[key] != OPTIONS["primary"][key].default


def _not_used(drivers: tuple[str, ...], driver: str) -> str:
    *first, last = drivers
    names = f"{', '.join(first)} and {last}" if first else last
    if driver == "none":
        return f"is only for {names}, and there is no driver; give primary.driver, or leave it out"
    return f"is only for {names}, and the driver is {driver}; leave it out"


def _check_url(
    driver: str,
    given: Mapping[str, Any],
    values: dict[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    problems: Problems,
) -> None:
    check, allowed = _URLS[driver]
    if not given.get("url"):
        if driver != "mastodon":
            problems.add("primary", "url", f"missing; give {allowed}")
        return
    if "url" not in values:
        return
    try:
        values["url"] = check(values["url"])
    except ValueError as error:
        problems.add("primary", "url", f"what is given {error}; give {allowed}")
        return
    if values["url"] == others["store"].get("url", OPTIONS["store"]["url"].default):
        sentence = "is the relay's own database; posts are inserted into another one"
        problems.add("primary", "url", sentence)


def _check_instances(
    given: Mapping[str, Any], values: Mapping[str, Any], problems: Problems
) -> None:
    """Either one account for all or people's own; and each instance once, since its host names it.

    A port does not: `link` takes a host.
    """
    instances = values.get("instances", ())
    if given.get("url") and given.get("instances"):
        sentence = (
            "is given as well as url; leave out this for one account for all, url for people's own"
        )
        problems.add("primary", "instances", sentence)
    elif not given.get("url") and not given.get("instances"):
        sentence = (
            "missing; give the instances on which people have accounts, or url and a token for "
            "one account for all"
        )
        problems.add("primary", "instances", sentence)
    hosts = [host_of(each) for each in instances]
    for item, host in enumerate(hosts):
        if host in hosts[:item]:
            problems.add("primary", "instances", f"{host} is given twice; leave out one", item)


def host_of(site: str) -> str:
    """The host in the base URL of an instance, which is its name for people."""
    host = site.partition("://")[2]
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _check_service(
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    problems: Problems,
) -> None:
    if not given.get("service"):
        if "service" not in given:
            problems.add("primary", "service", f"missing; give {_allowed('service')}")
    elif "service" in values and values["service"] == others["xmpp"].get("domain"):
        sentence = f'"{values["service"]}" is the relay itself; name the pubsub service'
        problems.add("primary", "service", sentence)


def _find_secret(
    driver: str,
    given: Mapping[str, Any],
    values: dict[str, Any],
    folder: Path,
    problems: Problems,
) -> None:
    option = _SECRETS[driver]
    found = find_secret(option, given, values, folder, {}, problems)
    wanted = driver == "webhook" or bool(given.get("url"))
    if found and not wanted:
        key = option.key if option.key in given else f"{option.key}_file"
        problems.add("primary", key, "is only for one account for all, with url; leave it out")
    if wanted and not found:
        sentence = f"there is no {option.key}; name its file here, or give primary.{option.key}"
        problems.add("primary", f"{option.key}_file", sentence)


def _allowed(key: str) -> str:
    return OPTIONS["primary"][key].option.allowed
