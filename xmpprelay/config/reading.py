"""From a TOML file to a checked `Config`, or to all of its mistakes at once.

Each value is checked by itself with what stands at its option; then come the checks that concern
two options: the one source of the secret, the server's own domains, and whose the admins are. A
value that is wrong already is left out of these, so that one mistake is told once.
"""

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from xmpprelay.config.options import (
    LATER,
    OPTIONS,
    SECRET_VARIABLE,
    TABLES,
    Config,
    Entry,
    Xmpp,
    one_line_secret,
)
from xmpprelay.errors import ConfigError

_MAX_FILE_BYTES: Final = 1 << 20  # a configuration is some kilobytes; this only stops a wrong file
_MAX_SECRET_BYTES: Final = 4096  # likewise
_SHOWN_CHARS: Final = 60  # of a wrong value, so that its problem stays one line


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in `path`.

    Raises ConfigError with every mistake there is: `problems` has one sentence each, beginning with
    the option's name, in the order of the file; what is missing stands at its table's end.
    """
    tables = _parsed(path)
    problems = _Problems(tables)
    _find_unknown(tables, problems)
    values = {name: _check_table(name, tables.get(name), problems) for name in TABLES}
    xmpp = tables.get("xmpp", {})
    if isinstance(xmpp, dict):
        _find_secret(xmpp, values["xmpp"], path.parent, environ, problems)
        _check_domains(xmpp, values["xmpp"], problems)
    sentences = problems.sentences()
    if sentences:
        count = "a mistake" if len(sentences) == 1 else f"{len(sentences)} mistakes"
        raise ConfigError(f"{path} has {count}; correct what follows:", sentences)
    parts = {name: table(**values[name]) for name, table in TABLES.items()}
    return Config(**parts, source=path)


def warnings(config: Config) -> list[str]:
    """What is allowed in `config` but hardly meant, one sentence each; [] if there is nothing."""
    found = []
    holder = Path(config.xmpp.secret_file) if config.xmpp.secret_file else config.source
    if holder and _is_open(holder) and (config.xmpp.secret_file or _names_a_secret(holder)):
        found.append(
            f"{holder} holds the secret and others can read it; let only the relay's user read it, "
            f"such as by `chmod 600 {holder}`"
        )
    folder = config.store.path.parent
    if not folder.is_dir():
        found.append(
            f"store.url: there is no folder {folder}; make it, and give it to the relay's user"
        )
    server = config.xmpp.local_domains[0]
    if "." not in server and server != "localhost":
        found.append(f'xmpp.local_domains: "{server}" hardly is a server; name the server\'s own')
    return found


def _parsed(path: Path) -> dict[str, Any]:
    """The tables as they stand in the file, unchecked; ConfigError if it is not a TOML file."""
    try:
        content = _content(path, _MAX_FILE_BYTES)
    except FileNotFoundError:
        raise ConfigError(
            f"There is no file {path}: write one, beginning with what `xmpprelay config sample` "
            "prints, or name yours with --config or $XMPPRELAY_CONFIG."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({_reason(error)}): make it a file that the relay's user can "
            "read."
        ) from None
    except ValueError:
        raise ConfigError(
            f"{path} is far too large for a configuration: name another file with --config."
        ) from None
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"there is something that is no UTF-8 text in line {line}"
    except tomllib.TOMLDecodeError as error:
        problem = _one_line(str(error), 200)
    except (ValueError, RecursionError):  # a number of thousands of digits; [[[[…
        problem = "it has a value that is far too large or too deep"
    raise ConfigError(f"{path} is not a TOML file; correct what follows:", [f"file: {problem}"])


def _content(path: Path, most_bytes: int) -> bytes:
    """A file's bytes; OSError if it cannot be read, ValueError if it has more than that many."""
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError
    return content


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else "it is no file"


class _Problems:
    """Collects what is wrong, and gives it back in the order of the file."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._tables = tables
        self._found: list[tuple[tuple[int, int], str]] = []

    def add(self, table: str, key: str | None, sentence: str, item: int | None = None) -> None:
        """Note a mistake in `table.key`, or in the table itself; `item` of a list counts from 0."""
        name = table if key is None else f"{table}.{key}"
        where = name if item is None else f"{name}, item {item + 1}"
        content = self._tables.get(table)
        keys = list(content) if isinstance(content, dict) else []
        order = (_place(table, list(self._tables)), _place(key, keys))
        self._found.append((order, _one_line(f"{where}: {sentence}", 400)))

    def sentences(self) -> list[str]:
        """All of them; equal places keep the order in which they were found."""
        return [sentence for _, sentence in sorted(self._found, key=lambda found: found[0])]


def _place(name: str | None, names: list[str]) -> int:
    if name is None:
        return -1
    return names.index(name) if name in names else len(names)


def _find_unknown(tables: Mapping[str, Any], problems: _Problems) -> None:
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
    if name in LATER:
        return "this table comes with a later version; leave it out"
    if not isinstance(content, dict | list) and _home_of(name):
        return f"this option belongs into the table [{_home_of(name)}]; move it there"
    return f"there is no such table; {_nearest(name, TABLES)}"


def _unknown_option(table: str, key: str) -> str:
    if f"{table}.{key}" in LATER:
        return "this option comes with a later version; leave it out"
    if _home_of(key):
        return f"this option belongs into the table [{_home_of(key)}]; move it there"
    return f"there is no such option; {_nearest(key, OPTIONS[table])}"


def _home_of(key: str) -> str | None:
    return next((table for table, options in OPTIONS.items() if key in options), None)


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"the nearest is {near[0]}" if near else f"there are {', '.join(known)}"


def _check_table(name: str, content: object, problems: _Problems) -> dict[str, Any]:
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
        return f'"{_one_line(value)}"'
    return _kind(value)


def _one_line(text: str, most: int = _SHOWN_CHARS) -> str:
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short if short.isprintable() else short.encode("unicode_escape").decode()


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", dict: "a table"}
    return kinds.get(type(value), "a list" if isinstance(value, list | tuple) else "a date or time")


def _find_secret(
    given: Mapping[str, Any],
    values: dict[str, Any],
    folder: Path,
    environ: Mapping[str, str],
    problems: _Problems,
) -> None:
    """Put the secret into `values`, from the one source that is given."""
    sources = [key for key in ("secret", "secret_file") if given.get(key, "") != ""]
    if environ.get(SECRET_VARIABLE, "").strip():
        sources.append(f"${SECRET_VARIABLE}")
    match sources:
        case []:
            if "secret" not in given:  # if it is, it is empty, and told so already
                problems.add("xmpp", "secret_file", _no_secret(environ))
        case ["secret_file"] if "secret_file" in values:
            file = folder / values["secret_file"]
            values["secret_file"] = str(file)
            _take_secret(values, lambda: _secret_in(file), "secret_file", str(file), problems)
        case ["secret" | "secret_file"]:
            pass  # checked already
        case [variable]:
            _take_secret(
                values, lambda: environ[SECRET_VARIABLE].strip(), "secret", variable, problems
            )
        case _:
            sentence = f"{' and '.join(sources)} are given; leave all of them out but one"
            problems.add("xmpp", sources[0], sentence)


def _no_secret(environ: Mapping[str, str]) -> str:
    empty = f" (${SECRET_VARIABLE} is empty)" if SECRET_VARIABLE in environ else ""
    return (
        f"there is no secret{empty}; name its file here, or give xmpp.secret or ${SECRET_VARIABLE}"
    )


def _take_secret(
    values: dict[str, Any], read: Callable[[], str], key: str, source: str, problems: _Problems
) -> None:
    try:
        values["secret"] = one_line_secret(read())
    except ValueError as error:
        problems.add("xmpp", key, f"{source} {error}; it must hold the secret, on one line")


def _secret_in(file: Path) -> str:
    try:
        return _content(file, _MAX_SECRET_BYTES).decode().strip()
    except OSError as error:
        raise ValueError(f"cannot be read ({_reason(error)})") from None
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8 text") from None
    except ValueError:
        raise ValueError("cannot be a secret's file, by its name or its size") from None


def _check_domains(
    given: Mapping[str, Any], values: Mapping[str, Any], problems: _Problems
) -> None:
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


def _names_a_secret(file: Path) -> bool:
    try:
        return "secret" in _parsed(file).get("xmpp", {})
    except ConfigError:
        return False


def _is_open(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & 0o077)
    except OSError:
        return False
