"""Tokens at rest: encrypted with a key that is not in the database.

A copy of the database, or of a backup, gives nobody's account away. Each text is bound to what it
is about, such as a person and an instance: put into another row, it cannot be read. AES-256 in GCM
(NIST SP 800-38D), a random nonce for each.

The file holds one key a line, 32 bytes in base64; what follows a `#` is for people. The first one
encrypts and all of them decrypt. To change the key, its owner puts a new line in front; the relay
encrypts everything anew at its next start, and the old line may go. The first run makes the file.

Whoever can read both the file and the database can read the tokens. So the file must be its owner's
alone; if it is not, it is refused.
"""

import base64
import binascii
import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from xmpprelay.errors import ConfigError, WrongKey

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # SP 800-38D §8.2; random, so good for 2³² texts a key
_MOST_BYTES: Final = 1 << 16  # of a file of keys: this only stops a wrong file

_HEAD: Final = """\
# Encrypts the tokens of linked accounts in xmpprelay's database. Keep a copy, but not beside the
# database's. For another key, put a line made by `openssl rand -base64 32` in front, and start the
# relay; then the old line can go.
"""


class SecretBox:
    """Encrypts and decrypts with the keys of one file. `open` is the way to it."""

    def __init__(self, path: Path, keys: list[bytes]) -> None:
        self._path = path
        self._ciphers = {_name_of(key): AESGCM(key) for key in keys}
        self._first = _name_of(keys[0])

    @classmethod
    def open(cls, path: Path) -> "SecretBox":
        """The box whose keys are in this file, which is made if it is missing.

        Raises ConfigError: it cannot be made or read, is not its owner's alone, or holds no keys.
        """
        try:
            _make(path)
            return cls(path, _keys_in(path))
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else "it is no file"
            raise ConfigError(
                f"The key file {path} cannot be made or read ({why}): correct `store.key_file`, or "
                "the permissions of its folder."
            ) from None

    def encrypt(self, text: str, about: str) -> str:
        """The text, encrypted by the first key. Only with the same `about` it can be read again."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, text.encode(), about.encode())
        return f"{self._first}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def decrypt(self, sealed: str, about: str) -> str:
        """The text again. Raises WrongKey if it was encrypted by another key, or about another."""
        name, _, rest = sealed.partition(".")
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise WrongKey(
                f"None of the keys in {self._path} is the one that a token in the database was "
                "encrypted with: put that key back as a line of the file; if it is lost, the "
                "account's owner has to `link` again."
            )
        try:
            content = base64.urlsafe_b64decode(rest)
            text = cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], about.encode())
            return text.decode()
        except (InvalidTag, ValueError):
            raise WrongKey(
                "A token in the database was changed, or is of another row: the account's owner "
                "has to `link` again."
            ) from None

    def is_current(self, sealed: str) -> bool:
        """Whether it was encrypted by the first key."""
        return sealed.partition(".")[0] == self._first

    def rotate(self, sealed: str, about: str) -> str:
        """The same text, encrypted by the first key. Raises WrongKey as `decrypt` does."""
        return self.encrypt(self.decrypt(sealed, about), about)


def _name_of(key: bytes) -> str:
    """What tells one key from another, and tells nobody the key."""
    return hashlib.sha256(b"xmpprelay key " + key).hexdigest()[:8]


def _make(path: Path) -> None:
    """Make the file with a new key, whole or not at all; one that is there is left alone."""
    if path.exists():
        return
    line = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            if (
                os.geteuid() == 0
            ):  # as all files of the relay: root makes nothing that it cannot read
                folder = path.parent.stat()
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            file.write(f"{_HEAD}{line}\n")
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(beside, path)  # unlike a rename, it never replaces what somebody else has made
        except FileExistsError:
            return
    finally:
        beside.unlink()
    folder_descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder_descriptor)
    finally:
        os.close(folder_descriptor)


def _keys_in(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise ConfigError(
                f"Others can read the key file {path}, and so everybody's tokens: let only the "
                f"relay's user read it, by `chmod 600 {path}`."
            )
        content = file.read(_MOST_BYTES)
    lines = (line.partition(b"#")[0].strip() for line in content.splitlines())
    keys = [_key(line) for line in lines if line]
    good = [key for key in keys if len(key) == KEY_BYTES]
    if not keys or len(good) != len(keys):
        raise ConfigError(
            f"{path} is no key file: each line must be {KEY_BYTES} bytes in base64, as "
            f"`openssl rand -base64 {KEY_BYTES}` makes it. Put the file back from its copy."
        )
    return good


def _key(line: bytes) -> bytes:
    try:
        return base64.b64decode(
            line, altchars=b"-_" if b"-" in line or b"_" in line else None, validate=True
        )
    except (binascii.Error, ValueError):
        return b""
