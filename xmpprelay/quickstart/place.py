"""Where the quickstart keeps its things: a folder that is removed at the end, or one that is kept.

    folder/prosody/       the private server's own
    folder/relay.db …     the relay's: configuration, database, log
    folder/primary…       the primary service's
    folder/accounts.json  kept folders only: the passwords and the ports, so that a client that has
                          been set up once works again after the next start

A folder is used by one quickstart at a time.
"""

import base64
import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from xmpprelay.core.places import Places
from xmpprelay.errors import ConfigError
from xmpprelay.quickstart.primaries import DemoPrimary, Table
from xmpprelay.quickstart.private_server import free_port
from xmpprelay.quickstart.prosody import Prosody

DEMO: Final = ("alice", "bob", "carol")
VISITOR: Final = "you"

_ACCOUNTS: Final = "accounts.json"
_PORTS: Final = ("port", "primary_port", "web_port")
_LONGEST_BYTES: Final = 93  # the relay's socket has 14 more, and the system allows it 107


Kind: TypeAlias = Literal["mastodon", "sql", "none"]


@dataclass(frozen=True, slots=True)
class Place:
    """The folder, what is in it, and the server that lives in it (not yet started)."""

    folder: Path
    kept: bool
    known: bool  # there was a quickstart in this folder before
    passwords: dict[str, str]  # of DEMO and VISITOR
    server: Prosody
    primary: DemoPrimary | Table | None
    web_port: int  # the relay's, on this machine

    @property
    def pages(self) -> Places:
        """Where the relay's pages and feeds are."""
        return Places(f"http://127.0.0.1:{self.web_port}")

    @property
    def web(self) -> dict[str, object]:
        """The relay's options for them."""
        return {"listen": f"127.0.0.1:{self.web_port}", "base_url": self.pages.base_url}


@contextlib.contextmanager
def open_place(data_dir: Path | None, kind: Kind = "mastodon") -> Iterator[Place]:
    """The place for a quickstart. None: a new folder, removed at the end.

    Raises ConfigError when the folder is of no use, or another quickstart uses it.
    """
    if data_dir is None:
        with tempfile.TemporaryDirectory(prefix="xmpprelay-") as name:
            folder = Path(name)
            primary = _primary(kind, folder, free_port())
            yield Place(folder, False, False, _new_passwords(), Prosody(), primary, free_port())
        return
    folder = data_dir.absolute()
    problem = _wrong_with_name(folder)
    if problem is not None:
        raise ConfigError(f"The name of {folder} {problem}: choose another --data-dir.")
    server = Prosody(data_dir=folder / "prosody")
    # Asked for first: it makes the folder if the server can use it, and else leaves nothing behind.
    _ = server.folder
    with _locked(folder):
        accounts = folder / _ACCOUNTS
        known = accounts.exists()
        passwords, ports = _read(accounts) if known else (_new_passwords(), {})
        server.c2s_port = free_port(ports.get("port", server.c2s_port))
        primary_port = free_port(ports.get("primary_port"))
        web_port = free_port(ports.get("web_port"))
        accounts.touch(mode=0o600)
        kept = {
            "passwords": passwords,
            "port": server.c2s_port,
            "primary_port": primary_port,
            "web_port": web_port,
        }
        accounts.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        primary = _primary(kind, folder, primary_port)
        yield Place(folder, True, known, passwords, server, primary, web_port)


def _primary(kind: Kind, folder: Path, port: int) -> DemoPrimary | Table | None:
    match kind:
        case "mastodon":
            return DemoPrimary(folder, port)
        case "sql":
            return Table(folder)
    return None


def _wrong_with_name(folder: Path) -> str | None:
    """Why the relay could not have its database there, whatever the folder is like."""
    if len(os.fsencode(folder)) > _LONGEST_BYTES:
        return f"is longer than {_LONGEST_BYTES} bytes"
    if not str(folder).isprintable() or set("#?") & set(str(folder)):
        return "has a # or ? in it, or something that does not print"
    return None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        lock = (folder / "lock").open("wb")
    except OSError as error:
        raise ConfigError(
            f"Nothing can be written to {folder} ({error.strerror}): choose another --data-dir."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another quickstart uses {folder}: end it, or choose another --data-dir."
            ) from None
        yield


def _read(accounts: Path) -> tuple[dict[str, str], dict[str, int]]:
    """The passwords and the ports of last time."""
    try:
        kept = json.loads(accounts.read_text(encoding="utf-8"))
        passwords = {name: str(kept["passwords"][name]) for name in (*DEMO, VISITOR)}
        ports = {name: int(kept[name]) for name in _PORTS if name in kept}
        if "port" not in ports or not all(1024 <= port <= 65535 for port in ports.values()):
            raise ValueError
        return passwords, ports
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{accounts} is damaged: remove it, and new passwords are made."
        ) from None


def _new_passwords() -> dict[str, str]:
    return {name: _new_password() for name in (*DEMO, VISITOR)}


def _new_password() -> str:
    """Easy to type, and 60 bits: other users of this machine can reach the server too."""
    letters = base64.b32encode(secrets.token_bytes(10)).decode().lower()
    return "-".join(letters[at : at + 4] for at in (0, 4, 8))
