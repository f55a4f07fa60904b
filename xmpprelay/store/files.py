"""The files of a database: where it lies, and what stands beside it.

    relay.db            the database (SQLite adds relay.db-wal and relay.db-shm)
    relay.db.lock       held while an instance has the database open for writing
    relay.db.number     the highest post number that was handed out: shows a file copied back
    relay.db.reserve    some mebibytes kept for the hour in which the disk is full

All of them are readable by their owner alone (0600). What root makes here belongs to the owner of
the folder, so that `sudo xmpprelay restore` leaves nothing that the relay cannot open.

Nothing here reads or writes the database itself.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from xmpprelay.errors import StoreError, StoreLocked

RESERVE_BYTES: Final = 6 << 20
"""What SQLite needs to fold its log into the file (see `engine.py`), and so to go on writing.

Half as much again as the log: tried on full disks of 16 to 28 MiB, also with long posts.
"""
_SLACK_BYTES: Final = 1 << 19  # beyond it, so that a disk is not full and free by turns; a guess
_DIGITS: Final = 20  # a number is always as long, and so is written over in place


def existing_database(url: str) -> Path:
    """Give the path as `database_path` does; raises StoreError also if there is no file."""
    path = database_path(url)
    if not os.path.isfile(path):
        raise StoreError(f"There is no database at {path}: correct the store's url.")
    return path


def database_path(url: str) -> Path:
    """Give the absolute path of the database that a `sqlite:///` URL names.

    Raises StoreError for any other URL. In a URL a percent sign is written `%25`, a question mark
    `%3F`. A link is followed, since SQLite follows it as well.
    """
    advice = "write it as sqlite:////var/lib/xmpprelay/relay.db"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(f"The store's url is not a database URL: {advice}.") from None
    if parsed.get_backend_name() != "sqlite":
        raise StoreError(f"This version keeps its journal in SQLite only: {advice}.")
    if not parsed.database or parsed.database.startswith((":", "file:")):
        raise StoreError(f"The store's url names no file: {advice}.")
    return Path(parsed.database).absolute().resolve()


def beside(path: Path, suffix: str) -> Path:
    """Give the path of the file beside the database, such as `relay.db.lock` for `.lock`."""
    return path.with_name(path.name + suffix)


def check_folder(folder: Path) -> None:
    """Raise StoreError if no file can be made in the folder, saying what to do."""
    if not os.path.isdir(folder):  # unlike Path.is_dir, raises nothing for a closed parent
        raise StoreError(f"There is no folder {folder}: make it, or correct the path.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"The folder {folder} cannot be written to: give it to the user that runs xmpprelay."
        )


def open_private(path: Path, flags: int, *, inherit: bool = True) -> int:
    """Open a file with `flags`, made 0600 if it is missing, and give its descriptor.

    With `inherit`, what root makes belongs to the owner of the folder. Raises StoreError naming the
    path.
    """
    try:
        new = not path.exists()
        descriptor = os.open(path, flags | os.O_CREAT, 0o600)
        if new and inherit and os.geteuid() == 0:
            folder = path.parent.stat()
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be opened ({error.strerror}): correct its owner and permissions."
        ) from error
    return descriptor


def sync_to_disk(path: Path) -> None:
    """Make a file, and its name in the folder, safe against a loss of power."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Lock:
    """Says that one process has the database for writing; ends with it, however it ends."""

    def __init__(self, database: Path) -> None:
        """Take the lock; raises StoreLocked, with the other's process id, where it is held."""
        self._descriptor = open_private(beside(database, ".lock"), os.O_RDWR)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._descriptor, _DIGITS, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StoreLocked(
                f"Another xmpprelay (process {pid or 'unknown'}) has {database} open:"
                " stop it, or use another database."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have the database. The file stays: removing it would be a race."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class HighWater:
    """The highest post number that was handed out, kept beside the database.

    Written after the commit and never synced: it may be behind the database, or absent, but it is
    ahead of it only if somebody has put an older file in the database's place.
    """

    def __init__(self, database: Path) -> None:
        """Name the file; it is opened by the first `write`."""
        self.path = beside(database, ".number")
        self._descriptor = -1
        self._written = 0

    def read(self) -> int:
        """Give the number in the file; 0 if there is none, or none that can be read."""
        try:
            return int(self.path.read_bytes())
        except (OSError, ValueError):
            return 0  # absent, or cut short by a loss of power

    def write(self, number: int) -> None:
        """Note the number, if it is another than before. Raises OSError, StoreError."""
        if number == self._written:
            return
        if self._descriptor < 0:
            self._descriptor = open_private(self.path, os.O_WRONLY)
        os.pwrite(self._descriptor, b"%0*d\n" % (_DIGITS, number), 0)
        self._written = number

    def close(self) -> None:
        """Let go of the file, which stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Reserve:
    """Room on the disk that is given back when the disk is full: without any, deletes fail too."""

    def __init__(self, database: Path) -> None:
        """Name the file; `make` makes it."""
        self.path = beside(database, ".reserve")

    def make(self) -> bool:
        """Set the reserve aside, and tell whether there is room for it and a little more."""
        try:
            descriptor = open_private(self.path, os.O_RDWR)
        except StoreError:
            return False
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            disk = os.fstatvfs(descriptor)
            made = disk.f_bavail * disk.f_frsize >= _SLACK_BYTES
        except OSError:
            made = False
        finally:
            os.close(descriptor)
        if not made:
            self.release()
        return made

    def release(self) -> bool:
        """Give the room back, and tell whether there was any to give."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True
