"""Files that a configuration names, read as far as it needs them: secrets and certificates."""

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xmpprelay.config.problems import Problems
from xmpprelay.config.values import Secret, one_line_secret

_MAX_SECRET_BYTES: Final = 4096  # this only stops a wrong file


def read_at_most(path: Path, most_bytes: int) -> bytes:
    """A file's bytes; OSError if it cannot be read, ValueError if it has more than that many."""
    with path.open("rb") as file:
        found = file.read(most_bytes + 1)
    if len(found) > most_bytes:
        raise ValueError
    return found


def reason(error: OSError) -> str:
    """Why a file cannot be read, in the system's words."""
    return os.strerror(error.errno) if error.errno else "it is no file"


def is_open(file: Path) -> bool:
    """Whether others than the file's owner may do anything with it."""
    try:
        return bool(file.stat().st_mode & 0o077)
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class SecretOption:
    """An option that holds a secret; with `_file` behind its name, one that names its file."""

    table: str
    key: str  # such as `token`
    read: Callable[[str], Secret] = one_line_secret  # ValueError if it can be none
    variable: str = ""  # of the environment, that may hold it as well


def find_secret(
    option: SecretOption,
    given: Mapping[str, Any],
    values: dict[str, Any],
    folder: Path,
    environ: Mapping[str, str],
    problems: Problems,
) -> bool:
    """Put a secret into `values`, from the one source that is given; whether there is any."""
    key, file_key = option.key, f"{option.key}_file"
    sources = [each for each in (key, file_key) if given.get(each, "") != ""]
    if environ.get(option.variable, "").strip():
        sources.append(f"${option.variable}")
    match sources:
        case []:
            return key in given  # then it is empty, and told so already
        case [source] if source == file_key and file_key in values:
            file = folder / values[file_key]
            values[file_key] = str(file)
            _take(option, values, lambda: _secret_in(file), file_key, str(file), problems)
        case [source] if source in (key, file_key):
            pass  # checked already
        case [variable]:
            text = environ[option.variable].strip()
            _take(option, values, lambda: text, key, variable, problems)
        case _:
            sentence = f"{' and '.join(sources)} are given; leave all of them out but one"
            problems.add(option.table, sources[0], sentence)
    return True


def _take(
    option: SecretOption,
    values: dict[str, Any],
    text: Callable[[], str],
    where: str,
    source: str,
    problems: Problems,
) -> None:
    try:
        values[option.key] = option.read(text())
    except ValueError as error:
        sentence = f"{source} {error}; it must hold the {option.key}, on one line"
        problems.add(option.table, where, sentence)


def _secret_in(file: Path) -> str:
    try:
        return read_at_most(file, _MAX_SECRET_BYTES).decode().strip()
    except OSError as error:
        raise ValueError(f"cannot be read ({reason(error)})") from None
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8 text") from None
    except ValueError:
        raise ValueError("cannot be a secret's file, by its name or its size") from None


def check_certificates(file: Path) -> None:
    """Raise ValueError, with words that continue the file's name, if it holds no certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise ValueError("holds no certificate in PEM") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({reason(error)})") from None
    except ValueError:
        raise ValueError("cannot be a file's name") from None
