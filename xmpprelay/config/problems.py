"""The mistakes of a configuration, collected so that all of them are told at once."""

from collections.abc import Mapping
from typing import Any, Final

SHOWN_CHARS: Final = 60
"""Of a wrong value, so that its problem stays one line."""


class Problems:
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
        self._found.append((order, one_line(f"{where}: {sentence}", 400)))

    def sentences(self) -> list[str]:
        """All of them; equal places keep the order in which they were found."""
        return [sentence for _, sentence in sorted(self._found, key=lambda found: found[0])]


def _place(name: str | None, names: list[str]) -> int:
    if name is None:
        return -1
    return names.index(name) if name in names else len(names)


def one_line(text: str, most: int = SHOWN_CHARS) -> str:
    """The text, cut, and with everything that does not print written as escapes."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short if short.isprintable() else short.encode("unicode_escape").decode()
