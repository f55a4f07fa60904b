"""Tokens at rest: a key of its own, its file, several keys, and what a wrong one says."""

import base64
import os
import secrets
import stat
from pathlib import Path

import pytest

from xmpprelay.errors import ConfigError, WrongKey
from xmpprelay.secretbox import KEY_BYTES, SecretBox

ABOUT = "link 17 https://social.example"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key"


def new_line() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)


def keys_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("text", ["hunter2", "", "ä" * 5000])
def test_what_was_encrypted_can_be_read_again_and_only_with_the_key(path: Path, text: str) -> None:
    box = SecretBox.open(path)
    sealed = box.encrypt(text, ABOUT)
    assert sealed.isascii()
    assert not text or text not in sealed
    assert sealed != box.encrypt(text, ABOUT), "a nonce is used once"
    assert SecretBox.open(path).decrypt(sealed, ABOUT) == text


def test_a_token_can_be_read_in_its_own_row_only(path: Path) -> None:
    box = SecretBox.open(path)
    sealed = box.encrypt("hunter2", ABOUT)
    with pytest.raises(WrongKey, match="is of another row"):
        box.decrypt(sealed, "link 18 https://social.example")


@pytest.mark.parametrize("position", [-1, -20, 12])
def test_a_changed_token_is_noticed(path: Path, position: int) -> None:
    box = SecretBox.open(path)
    name, _, rest = box.encrypt("hunter2", ABOUT).partition(".")
    content = bytearray(base64.urlsafe_b64decode(rest))
    content[position] ^= 1
    changed = f"{name}.{base64.urlsafe_b64encode(content).decode()}"
    for each in (changed, f"{name}.", f"{name}.é", f"{name}.a", f"{name}.{rest[:10]}"):
        with pytest.raises(WrongKey, match="was changed"):
            box.decrypt(each, ABOUT)


def test_a_wrong_key_says_what_to_do(path: Path) -> None:
    sealed = SecretBox.open(path).encrypt("hunter2", ABOUT)
    write(path, new_line())
    box = SecretBox.open(path)
    for each in (sealed, "", "hunter2"):
        with pytest.raises(WrongKey, match="put that key back as a line of the file") as caught:
            box.decrypt(each, ABOUT)
        assert "hunter2" not in caught.value.sentence


# --- The file ------------------------------------------------------------------------------------


def test_the_first_run_makes_the_file_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        SecretBox.open(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    [line] = keys_of(path)
    assert len(base64.b64decode(line)) == KEY_BYTES
    assert [each.name for each in path.parent.iterdir()] == ["key"]
    content = path.read_bytes()
    SecretBox.open(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    SecretBox.open(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"Others can read .* by `chmod 600 {path}`"):
        SecretBox.open(path)


@pytest.mark.parametrize(
    "lines", [[], ["# nothing"], ["hunter2"], ["aGFsbG8="], [new_line(), "hunter2"], ["\x00é"]]
)
def test_what_is_no_key_file_is_told_and_left_alone(path: Path, lines: list[str]) -> None:
    write(path, *lines)
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="is no key file") as caught:
        SecretBox.open(path)
    assert "hunter2" not in caught.value.sentence
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_made_or_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be made or read \(No such file.*key_file"):
        SecretBox.open(tmp_path / "nowhere" / "key")
    with pytest.raises(ConfigError, match=r"cannot be made or read \(Is a directory"):
        SecretBox.open(tmp_path)


def test_keys_may_be_written_in_either_alphabet_and_explained(path: Path) -> None:
    key = b"\xfb\xff" * 16
    write(path, "# the old one", base64.b64encode(key).decode() + "  # since spring")
    sealed = SecretBox.open(path).encrypt("hunter2", ABOUT)
    write(path, base64.urlsafe_b64encode(key).decode())
    assert SecretBox.open(path).decrypt(sealed, ABOUT) == "hunter2"


# --- Another key ---------------------------------------------------------------------------------


def test_a_new_key_in_front_encrypts_and_the_old_one_still_decrypts(path: Path) -> None:
    old = SecretBox.open(path)
    sealed = old.encrypt("hunter2", ABOUT)
    [old_line] = keys_of(path)
    write(path, new_line(), old_line)
    both = SecretBox.open(path)
    assert both.decrypt(sealed, ABOUT) == "hunter2"
    assert not both.is_current(sealed)
    rotated = both.rotate(sealed, ABOUT)
    assert both.is_current(rotated)
    write(path, keys_of(path)[0])
    new = SecretBox.open(path)
    assert new.decrypt(rotated, ABOUT) == "hunter2"
    with pytest.raises(WrongKey):
        new.decrypt(sealed, ABOUT)
    with pytest.raises(WrongKey):
        new.rotate(rotated, "somebody else's")
