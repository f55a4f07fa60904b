"""From a TOML file to a checked `Config`, or to all of its mistakes at once.

Each value is checked by itself with what stands at its option; then come the checks that concern
two options: the one source of the secret, the server's own domains, and whose the admins are. A
value that is wrong already is left out of these, so that one mistake is told once.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from xmpprelay.config.files import SecretOption, find_secret, is_open, read_at_most, reason
from xmpprelay.config.options import (
    OPTIONS,
    SECRET_VARIABLE,
    TABLES,
    Config,
    Entry,
    Xmpp,
)
from xmpprelay.config.primary import check_primary
from xmpprelay.config.problems import Problems, one_line
from xmpprelay.errors import ConfigError

_MAX_FILE_BYTES: Final = 1 << 20  # a configuration is some kilobytes; this only stops a wrong file


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in `path`.

    Raises ConfigError with every mistake there is: `problems` has one sentence each, beginning with
    the option's name, in the order of the file; what is missing stands at its table's end.
    """
    tables = _parsed(path)
    problems = Problems(tables)
    _find_unknown(tables, problems)
    values = {name: _check_table(name, tables.get(name), problems) for name in TABLES}
    xmpp = tables.get("xmpp", {})
    if isinstance(xmpp, dict):
        _find_secret(xmpp, values["xmpp"], path.parent, environ, problems)
        _check_domains(xmpp, values["xmpp"], problems)
    primary = tables.get("primary", {})
    if isinstance(primary, dict):
        check_primary(primary, values["primary"], path.parent, values, problems)
    _check_web(tables, values, problems)
    if values["feeds"].get("directory"):
        values["feeds"]["directory"] = str(path.parent / values["feeds"]["directory"])
    if values["store"].get("key_file"):
        values["store"]["key_file"] = str(path.parent / values["store"]["key_file"])
    sentences = problems.sentences()
    if sentences:
        count = "a mistake" if len(sentences) == 1 else f"{len(sentences)} mistakes"
        raise ConfigError(f"{path} has {count}; correct what follows:", sentences)
    parts = {name: table(**values[name]) for name, table in TABLES.items()}
    return Config(**parts, source=path)


def warnings(config: Config) -> list[str]:
    """What is allowed in `config` but hardly meant, one sentence each; [] if there is nothing."""
    found = [
        f"{file} holds the {what} and others can read it; let only the relay's user read it, such "
        f"as by `chmod 600 {file}`"
        for file, what in _holders(config).items()
        if is_open(file)
    ]
    folder = config.store.path.parent
    if not folder.is_dir():
        found.append(
            f"store.url: there is no folder {folder}; make it, and give it to the relay's user"
        )
    copies = config.feeds.directory
    if copies and not _may_be_written(Path(copies)):
        found.append(
            f"feeds.directory: {copies} is no folder that can be written to; make it, and give it "
            "to the relay's user"
        )
    server = config.xmpp.local_domains[0]
    if "." not in server and server != "localhost":
        found.append(f'xmpp.local_domains: "{server}" hardly is a server; name the server\'s own')
    return found


def _may_be_written(folder: Path) -> bool:
    """Whether there is such a folder, or one that it can be made in, and we may write there."""
    there = folder if folder.exists() else folder.parent
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _holders(config: Config) -> dict[Path, str]:
    """The files that hold something secret, and what."""
    named = [
        (config.xmpp.secret_file, "secret"),
        (config.primary.secret_file, "secret"),
        (config.primary.token_file, "token"),
    ]
    found = {Path(file): what for file, what in named if file}
    if config.source is not None and _names_a_secret(config.source):
        found[config.source] = "secret"
    return found


def _names_a_secret(file: Path) -> bool:
    try:
        tables = _parsed(file)
    except ConfigError:
        return False
    return any(
        key in tables.get(table, {})
        for table, key in (("xmpp", "secret"), ("primary", "secret"), ("primary", "token"))
    )


def _parsed(path: Path) -> dict[str, Any]:
    """The tables as they stand in the file, unchecked; ConfigError if it is not a TOML file."""
    try:
        found = read_at_most(path, _MAX_FILE_BYTES)
    except FileNotFoundError:
        raise ConfigError(
            f"There is no file {path}: write one, beginning with what `xmpprelay config sample` "
            "prints, or name yours with --config or $XMPPRELAY_CONFIG."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({reason(error)}): make it a file that the relay's user can "
            "read."
        ) from None
    except ValueError:
        raise ConfigError(
            f"{path} is far too large for a configuration: name another file with --config."
        ) from None
    try:
        return tomllib.loads(found.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        problem = f"there is something that is no UTF-8 text in line {line}"
    except tomllib.TOMLDecodeError as error:
        problem = one_line(str(error), 200)
    except (ValueError, RecursionError):  # a number of thousands of digits; [[[[…
        problem = "it has a value that is far too large or too deep"
    raise ConfigError(f"{path} is not a TOML file; correct what follows:", [f"file: {problem}"])


def _find_unknown(tables: Mapping[str, Any], problems: Problems) -> None:
    """Whatever stands in the file and means nothing to this version."""
    for table, content in tables.items():
        if table not in TABLES:
            problems.add(table, None, _unknown_table(table, content))
        elif not isinstance(content, dict):
            problems.add(table, None, f"{_shown(content)} is given, but this is a table: [{table}]")
        else:
            for key in content:
                if key not in OPTIONS[table]:
                    problems.add(table, key, _unknown_option(table, key))


def _unknown_table(name: str, content: object) -> str:
    if not isinstance(content, dict | list) and _home_of(name):
        return f"this option belongs into the table [{_home_of(name)}]; move it there"
    return f"there is no such table; {_nearest(name, TABLES)}"


def _unknown_option(table: str, key: str) -> str:
    if _home_of(key):
        return f"this option belongs into the table [{_home_of(key)}]; move it there"
    return f"there is no such option; {_nearest(key, OPTIONS[table])}"


def _home_of(key: str) -> str | None:
    return next((table for table, options in OPTIONS.items() if key in options), None)


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"the nearest is {near[0]}" if near else f"there are {', '.join(known)}"


def _check_table(name: str, content: object, problems: Problems) -> dict[str, Any]:
    """The good values of a table; what is wrong with the others is added to `problems`."""
    given = content if isinstance(content, dict) else {}
    values: dict[str, Any] = {}
    for key, entry in OPTIONS[name].items():
        if key not in given:
            if entry.default is MISSING:
                problems.add(name, key, f"missing; give {entry.option.allowed}")
            continue
        # Strict, so that "5347" is no number; but what is a tuple here is an array in TOML.
        value = tuple(given[key]) if isinstance(given[key], list) else given[key]
        adapter: TypeAdapter[Any] = TypeAdapter(entry.annotation, config=_STRICT)
        try:
            values[key] = adapter.validate_python(value)
        except ValidationError as error:
            for mistake in error.errors(include_url=False):
                item = next((part for part in mistake["loc"] if isinstance(part, int)), None)
                reason = mistake.get("ctx", {}).get("error", "is not allowed")
                sentence = _refusal(entry, mistake["input"], str(reason))
                problems.add(name, key, sentence, item)
    return values


_STRICT: Final = ConfigDict(strict=True, arbitrary_types_allowed=True)


def _refusal(entry: Entry, given: object, reason: str) -> str:
    if isinstance(given, str) and not given.strip():
        return f"empty; give {entry.option.allowed}"
    shown = _shown(given)
    if entry.option.private:
        shown = "what is given" if isinstance(given, str) else _kind(given)
    return f"{shown} {reason}; give {entry.option.allowed}"


def _shown(value: object) -> str:
    """A value much as it stands in the file, on one line and not too long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 1 << 64 else "so large a number"
    if isinstance(value, str):
        return f'"{one_line(value)}"'
    return _kind(value)


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", dict: "a table"}
    return kinds.get(type(value), "a list" if isinstance(value, list | tuple) else "a date or time")


def _find_secret(
    given: Mapping[str, Any],
    values: dict[str, Any],
    folder: Path,
    environ: Mapping[str, str],
    problems: Problems,
) -> None:
    """Put the secret of the component into `values`; it must be there."""
    option = SecretOption("xmpp", "secret", variable=SECRET_VARIABLE)
    if not find_secret(option, given, values, folder, environ, problems):
        empty = f" (${SECRET_VARIABLE} is empty)" if SECRET_VARIABLE in environ else ""
        sentence = (
            f"there is no secret{empty}; name its file here, or give xmpp.secret or "
            f"${SECRET_VARIABLE}"
        )
        problems.add("xmpp", "secret_file", sentence)


def _check_domains(given: Mapping[str, Any], values: Mapping[str, Any], problems: Problems) -> None:
    """Whose domains are the server's own, and whether the admins live there."""
    domain = values.get("domain")
    if domain is None or ("local_domains" in given and "local_domains" not in values):
        return  # told already; the admins cannot be judged yet
    local_domains = Xmpp(domain=domain, local_domains=values.get("local_domains", ())).local_domains
    if not local_domains:
        sentence = f"missing; {domain} has no domain above it, so name the server's own"
        problems.add("xmpp", "local_domains", sentence)
        return
    for item, local in enumerate(local_domains):
        if local == domain:
            sentence = f"\"{local}\" is the component's own domain; name only the server's own"
            problems.add("xmpp", "local_domains", sentence, item)
    for item, admin in enumerate(values.get("admins", ())):
        if admin.partition("@")[2] not in local_domains:
            own = ", ".join(local_domains)
            sentence = f'"{admin}" is of another server; give people of {own} only'
            problems.add("xmpp", "admins", sentence, item)


def _check_web(
    given: Mapping[str, Any], values: Mapping[str, dict[str, Any]], problems: Problems
) -> None:
    """What belongs together: pages and their address, feeds and the pages that they lead to."""
    web = given.get("web", {})
    if not isinstance(web, dict):
        return
    feeds = values["feeds"]
    if "base_url" in web:
        return
    if "listen" in web:
        sentence = "missing; give the address at which people see the pages of web.listen"
        problems.add("web", "base_url", sentence)
    elif feeds.get("directory") or feeds.get("hub"):
        sentence = "missing; feeds have to name the address of what they lead to"
        problems.add("web", "base_url", sentence)
