"""A fuzz target: whatever somebody types.

    python -m tests.fuzz.grammar CORPUS-FOLDER -max_total_time=600

An input is a byte that says who types it and where, and how to read the rest: as a text, or as the
choices that make one out of words that mean something. For each text:

- it is a command, a post, a question back or a refusal, the same each time, and nothing is raised;
- a command has the arguments of one of its patterns, and written back it reads the same;
- what is posted stands in what was typed, and after `\\` it is posted whatever it says;
- what is asked or refused says something, and not at length;
- nothing that begins with `d`, `dm` or `pm` is posted (S4.3).
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["xmpprelay"]):
    from xmpprelay.commands.grammar import Ask, Command, Line, Problem, Text, parse, render
    from xmpprelay.commands.verbs import BY_WORD
    from xmpprelay.core.text import clean

HANDLES: Final = ("alice", "bob", "carol", "bbc", "night_owl")
WORDS: Final = (
    *sorted(BY_WORD),
    *HANDLES,
    "@bob", "@nobody", "nobody", "news", "dave@localhost", "a@b.org", "b@b.org/x", "*.b.org",
    "b.org", "2h", "99999d", "0m", "3d", "4/h", "0/h", "1000/d", "08:00", "25:00", "5", "-bob", "-",
    "1e9", "#k3f", "k3f", "#0", "#tag", "#", '"some words"', '"', "“x”", "on", "off", "all",
    "daily", ":", "\\", "~", "/", "/me", "msg", "em", "blok", "the", "9" * 40, "\u200f", "\u2068",
    "é", "\u0130", "de", "pt-BR", "Europe/Berlin", "-03:30", "home", "author", "digest", "yes",
    "name", "about",
)  # fmt: skip
SPACES: Final = (" ", "  ", "\t", "\u3000", "\n", "", "\u200f ", "\u00a0")

MOST_SAID: Final = 400

SEEDS: Final = (
    "follow bob", "follow the money", "last night", "d bob psst", "em bob my password", ":follow x",
    "\\follow bob", " d bob x", "~hello", "group news bbc -cnn", 'find "some words"',
    "mute #tag 3d", "digest bbc daily 08:00", "max bbc 4/h", "off bob 2h", "edit #k3f new\ntext",
    "re #k3f yes", "like", 'profile name "A B"', "tz Europe/Berlin", "lang pt-BR", "blok bob",
    "/me waves", ":)",
)  # fmt: skip
"""Where the fuzzer begins."""


@dataclass(frozen=True)
class Typist:
    """What the grammar may know of who types."""

    registered: bool

    def has_handle(self, handle: str) -> bool:
        return handle in HANDLES

    def has_group(self, name: str) -> bool:
        return name in {"news", "bbc"}

    def knows_jid(self, jid: str) -> bool:
        return jid == "dave@localhost"


class Broken(AssertionError):
    """What the fuzzer looks for."""


def text_of(data: bytes) -> str:
    """What an input stands for."""
    if data[0] & 1:
        return clean(data[1:].decode("utf-8", "surrogatepass" if data[0] & 8 else "replace"))
    given = atheris.FuzzedDataProvider(data[1:])
    parts = []
    for _ in range(given.ConsumeIntInRange(0, 8)):
        if given.ConsumeIntInRange(0, 7):
            parts.append(WORDS[given.ConsumeIntInRange(0, len(WORDS) - 1)])
        else:
            parts.append(given.ConsumeUnicode(given.ConsumeIntInRange(0, 12)))
        parts.append(SPACES[given.ConsumeIntInRange(0, len(SPACES) - 1)])
    return clean("".join(parts))


def takes(data: bytes) -> None:
    """One input."""
    if not data:
        return
    try:
        text = text_of(data)
    except UnicodeDecodeError:
        return
    typist, here = Typist(bool(data[0] & 2)), "bob" if data[0] & 4 else None
    line = parse(text, typist, here)
    if parse(text, typist, here) != line:
        raise Broken("read twice, it is two things")
    match line:
        case Command():
            _check_command(line, typist, here)
        case Text():
            _check_post(line, text, typist, here)
        case Ask(sentence) | Problem(sentence):
            if not sentence or len(sentence) > MOST_SAID:
                raise Broken(f"it is said: {sentence}")
        case _:
            raise Broken(f"it is {line!r}")
    if parse(f"\\{text}", typist, here) != Text(text.strip(), forced=True):
        raise Broken("a backslash posts it")


def _check_command(command: Command, typist: Typist, here: str | None) -> None:
    fits = [{slot.name for slot in slots} for _, slots in BY_WORD[command.verb].patterns]
    if set(command.arguments) not in fits and not (here and not command.arguments):
        raise Broken(f"no pattern of {command.verb} has {set(command.arguments)}")
    again: Line = parse(render(command), typist, here)
    if again != command:
        raise Broken(f"{render(command)!r} reads as {again}")


def _check_post(post: Text, typed: str, typist: Typist, here: str | None) -> None:
    if post.text not in typed or post.text != post.text.strip():
        raise Broken(f"{post.text!r} was not typed")
    first = typed.split(None, 1)[0].lower() if typed.split() else ""
    if first in ("d", "dm", "pm"):
        raise Broken("a direct message is posted")
    if isinstance(parse(f"d {typed}", typist, here), Text):
        raise Broken("a direct message would be posted")


def write_seeds(folder: Path) -> None:
    """The inputs that the fuzzer begins with."""
    for number, seed in enumerate(SEEDS):
        (folder / f"raw-{number}").write_bytes(bytes([1 + 2 * (number % 4)]) + seed.encode())
    for number in range(8):
        (folder / f"choices-{number}").write_bytes(bytes([2, *range(number, 240, number + 1)]))


def main() -> None:
    """Fuzz as the arguments say (libFuzzer's); ends the process. An empty corpus gets seeds."""
    for folder in (Path(each) for each in sys.argv[1:] if not each.startswith("-")):
        if folder.is_dir() and not any(folder.iterdir()):
            write_seeds(folder)
    atheris.Setup(sys.argv, takes)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
