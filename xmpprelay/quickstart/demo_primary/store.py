"""What the demo primary keeps, in one SQLite file: accounts, applications, logins, statuses.

Each change is committed and synced before it is answered, so a demo that is killed has afterwards
what it said that it has. A status gets an id of its time, as Mastodon's are, and never an older one
than the last. Keys (Idempotency-Key) are kept for an hour, over a restart as well.
"""

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

KEY_KEPT_S: Final = 3600.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, salt BLOB NOT NULL, proof BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS follow (
    account INTEGER NOT NULL, followed INTEGER NOT NULL, PRIMARY KEY (account, followed));
CREATE TABLE IF NOT EXISTS app (id TEXT PRIMARY KEY, secret TEXT NOT NULL, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS token (
    digest BLOB PRIMARY KEY, account INTEGER NOT NULL, app TEXT NOT NULL, scope TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS status (
    id INTEGER PRIMARY KEY, account INTEGER NOT NULL, text TEXT NOT NULL, visibility TEXT NOT NULL,
    parent INTEGER, language TEXT, media TEXT NOT NULL, app TEXT NOT NULL,
    created_ms INTEGER NOT NULL, edited_ms INTEGER, deleted INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS status_by_account ON status (account, id);
CREATE TABLE IF NOT EXISTS key (
    account INTEGER NOT NULL, key TEXT NOT NULL, status INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (account, key));
CREATE TABLE IF NOT EXISTS media (
    id INTEGER PRIMARY KEY, account INTEGER NOT NULL, type TEXT NOT NULL, content BLOB NOT NULL,
    used INTEGER NOT NULL DEFAULT 0);
"""

_STATUS: Final = (
    "status.id, status.account, account.name, text, visibility, parent, language, "
    "app.name, created_ms, edited_ms, media"
)
_FROM: Final = (
    "FROM status JOIN account ON account.id = status.account LEFT JOIN app ON app.id = status.app"
)


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody with an account."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Login:
    """Whom a token stands for, and what it allows."""

    who: Who
    app: str
    scope: str

    def allows(self, scope: str) -> bool:
        """Whether it allows something, such as `write:statuses`."""
        granted = self.scope.split()
        return scope in granted or scope.partition(":")[0] in granted


@dataclass(frozen=True, slots=True)
class Kept:
    """A status."""

    id: int
    account: int
    name: str
    text: str
    visibility: str
    parent: int | None
    language: str | None
    app: str | None  # the name of the application that it was made with
    created_ms: int
    edited_ms: int | None
    media: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class New:
    """What a status is made of."""

    text: str
    visibility: str
    parent: int | None = None
    language: str | None = None
    media: tuple[int, ...] = ()


class MediaTaken(Exception):
    """An attachment is not there, is somebody else's, or another status has it."""


class DemoStore:
    """One file, made if it is missing, for its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Accounts and logins

    def join(self, name: str, password: str, follows: Iterable[str] = ()) -> Who:
        """An account, which gets this password, and follows these accounts that are there."""
        salt = secrets.token_bytes(16)
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "INSERT INTO account (name, salt, proof) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET salt = excluded.salt, proof = excluded.proof",
                (name, salt, _proof(password, salt)),
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO follow SELECT one.id, other.id FROM account AS one, "
                "account AS other WHERE one.name = ? AND other.name = ?",
                [(name, each) for each in follows],
            )
        who = self.named(name)
        assert who is not None  # noqa: S101 - just made
        return who

    def named(self, name: str) -> Who | None:
        """The account of that name."""
        row = self._one("SELECT id, name FROM account WHERE name = ?", name)
        return None if row is None else Who(*row)

    def logs_in(self, name: str, password: str) -> Who | None:
        """The account of that name, if this is its password."""
        row = self._one("SELECT id, name, salt, proof FROM account WHERE name = ?", name)
        if row is None or not hmac.compare_digest(_proof(password, row[2]), row[3]):
            return None
        return Who(row[0], row[1])

    def followed(self, who: int) -> list[Who]:
        """Whom somebody follows."""
        query = (
            "SELECT account.id, name FROM follow JOIN account ON account.id = followed "
            "WHERE account = ? ORDER BY account.id"
        )
        return [Who(*row) for row in self._db.execute(query, (who,))]

    def add_app(self, name: str) -> tuple[str, str]:
        """A new application: its id and its secret."""
        app, secret = secrets.token_urlsafe(24), secrets.token_urlsafe(32)
        self._db.execute("INSERT INTO app VALUES (?, ?, ?)", (app, secret, name))
        return app, secret

    def app_name(self, app: str, secret: str | None = None) -> str | None:
        """What an application calls itself, if there is one and the secret, if given, is its."""
        row = self._one("SELECT name, secret FROM app WHERE id = ?", app)
        if row is None or (secret is not None and not hmac.compare_digest(row[1], secret)):
            return None
        return str(row[0])

    def add_token(self, who: int, app: str, scope: str) -> str:
        """A token for somebody and an application."""
        token = secrets.token_urlsafe(32)
        self._db.execute("INSERT INTO token VALUES (?, ?, ?, ?)", (_digest(token), who, app, scope))
        return token

    def login(self, token: str) -> Login | None:
        """What a token stands for; None: nothing."""
        row = self._one(
            "SELECT account.id, name, app, scope FROM token JOIN account ON account.id = account "
            "WHERE digest = ?",
            _digest(token),
        )
        return None if row is None else Login(Who(row[0], row[1]), row[2], row[3])

    def revoke(self, token: str, app: str) -> None:
        """A token of an application stands for nothing any more."""
        self._db.execute("DELETE FROM token WHERE digest = ? AND app = ?", (_digest(token), app))

    # Statuses

    def post(self, login: Login, new: New, key: str) -> Kept:
        """A new status, or the one that was made with the same key within the last hour.

        Raises MediaTaken.
        """
        now_ms = _now_ms()
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM key WHERE at_ms <= ?", (now_ms - 1000 * KEY_KEPT_S,))
            row = self._one(
                "SELECT status FROM key WHERE account = ? AND key = ?", login.who.id, key
            )
            number = self._insert(login, new, key, now_ms) if row is None else int(row[0])
        kept = self.status(number, deleted=True)
        assert kept is not None  # noqa: S101 - just made, or found by its key
        return kept

    def _insert(self, login: Login, new: New, key: str, now_ms: int) -> int:
        for each in new.media:
            taken = self._db.execute(
                "UPDATE media SET used = 1 WHERE id = ? AND account = ? AND used = 0",
                (each, login.who.id),
            )
            if taken.rowcount == 0:
                raise MediaTaken
        number = self._new_id("status", now_ms)
        self._db.execute(
            "INSERT INTO status (id, account, text, visibility, parent, language, media, app, "
            "created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number, login.who.id, new.text, new.visibility, new.parent, new.language,
                json.dumps(new.media), login.app, now_ms,
            ),
        )  # fmt: skip
        if key:
            self._db.execute(
                "INSERT INTO key VALUES (?, ?, ?, ?)", (login.who.id, key, number, now_ms)
            )
        return number

    def edit(self, number: int, text: str, language: str | None) -> None:
        """A status has another text."""
        self._db.execute(
            "UPDATE status SET text = ?, language = ?, edited_ms = ? WHERE id = ?",
            (text, language, _now_ms(), number),
        )

    def delete(self, number: int) -> None:
        """A status is gone; its id is not used again."""
        self._db.execute("UPDATE status SET deleted = 1, text = '' WHERE id = ?", (number,))

    def status(self, number: int, *, deleted: bool = False) -> Kept | None:
        """A status; one that was deleted only if that is wanted."""
        found = self._statuses("WHERE status.id = ? AND deleted <= ?", (number, deleted))
        return found[0] if found else None

    def page(
        self,
        *,
        shows: Sequence[str],
        account: int | None = None,
        min_id: int | None = None,
        max_id: int | None = None,
        limit: int = 20,
    ) -> list[Kept]:
        """Statuses of these visibilities, newest first: above `min_id` the oldest ones of all that
        are there, else the newest ones, below `max_id`."""
        where = f"WHERE deleted = 0 AND visibility IN ({', '.join('?' * len(shows))})"
        values: list[object] = list(shows)
        for condition, value in (
            ("status.account = ?", account),
            ("status.id > ?", min_id),
            ("status.id < ?", max_id),
        ):
            if value is not None:
                where += f" AND {condition}"
                values.append(value)
        upward = min_id is not None
        order = "ASC" if upward else "DESC"
        found = self._statuses(f"{where} ORDER BY status.id {order} LIMIT ?", (*values, limit))
        return found[::-1] if upward else found

    def count(self, visibility: str = "public") -> int:
        """How many statuses of a visibility there are."""
        query = "SELECT count(*) FROM status WHERE deleted = 0 AND visibility = ?"
        row = self._one(query, visibility)
        return 0 if row is None else int(row[0])

    def add_media(self, who: int, media_type: str, content: bytes) -> int:
        """An attachment for a later status."""
        number = self._new_id("media", _now_ms())
        self._db.execute(
            "INSERT INTO media VALUES (?, ?, ?, ?, 0)", (number, who, media_type, content)
        )
        return number

    def media(self, number: int) -> tuple[str, bytes] | None:
        """An attachment's type and content."""
        row = self._one("SELECT type, content FROM media WHERE id = ?", number)
        return None if row is None else (row[0], row[1])

    def _statuses(self, where: str, values: Sequence[object]) -> list[Kept]:
        query = f"SELECT {_STATUS} {_FROM} {where}"
        found = []
        for row in self._db.execute(query, values):
            *fields, media = row
            fields.append(tuple(json.loads(media)))
            found.append(Kept(*fields))
        return found

    def _new_id(self, table: str, now_ms: int) -> int:
        row = self._one(f"SELECT coalesce(max(id), 0) FROM {table}")  # noqa: S608 - a constant
        return max(now_ms << 16, 0 if row is None else int(row[0]) + 1)

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return row


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _proof(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << 12, r=8, p=1)
