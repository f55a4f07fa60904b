"""What people have chosen: settings, kept in the database and in the graph's wishes.

One table says what each setting can be. A choice is written first, and counts from its commit on,
in commit order. Groups, mutes, caps and digests are wishes too, and are changed in `less.py` and
`keeping_out.py`; `Choices.change` is the one way in which any of them gets into the graph.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.wishes import NO_WISHES, Delivery, Dms, Whose, Window, Wishes
from xmpprelay.errors import StoreError, TryLater
from xmpprelay.store.account import set_settings
from xmpprelay.store.database import Database
from xmpprelay.store.operations import SettingRow


def _switch(text: str) -> bool:
    return text == "on"


SETTINGS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "replies": ("replies", Whose),
    "mentions": ("mentions", Whose),
    "dms": ("dms", Dms),
    "window": ("window", Window),
    "delivery": ("delivery", Delivery),
    "archive": ("archive", _switch),
    "quiet": ("quiet", _switch),
    "ids": ("ids", _switch),
    "lang": ("lang", str),
    "tz": ("zone", str),
}
"""Each setting by the name that people type: the field of `Wishes`, and how its word is read."""

CLIENT_ZONE: Final = "client-tz"
"""The setting that keeps the zone that a person's client tells: nobody types it."""

BOT: Final = "bot"
"""The setting by which an author says that he is a program; others see it."""


class Choices:
    """The settings of everybody."""

    def __init__(self, db: Database, graph: Graph) -> None:
        self._db = db
        self._graph = graph
        self._bots: set[int] = set()

    def load(self, settings: Iterable[tuple[int, str, str]]) -> None:
        """Take up what is stored: (person, name, value); other names are left alone."""
        for person, name, value in settings:
            if name in SETTINGS or name in (BOT, CLIENT_ZONE):
                self._apply(person, name, value)

    def change(self, person: int, **fields: Any) -> None:
        """Put committed choices into the graph: fields of `Wishes` with their new values."""
        self._graph.set_wishes(person, replace(self._graph.wishes(person), **fields))

    async def set(self, person: int, name: str, value: str) -> None:
        """Keep a choice; it counts when this returns. Raises TryLater; then nothing has changed."""
        await self.set_all(person, {name: value})

    async def set_all(
        self,
        person: int,
        values: Mapping[str, str | None],
        committed: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep several choices, all or none; None is the default. Raises TryLater.

        `committed` puts into effect what is none of those that are known here.
        """
        rows = [SettingRow(person, name, value) for name, value in values.items()]

        def apply(_: None) -> None:
            for name, value in values.items():
                self._apply(person, name, value)
            committed()

        try:
            await self._db.write(set_settings, rows, committed=apply)
        except StoreError as error:
            raise TryLater(
                "The relay cannot store this at the moment; nothing was changed. Try later."
            ) from error

    def _apply(self, person: int, name: str, value: str | None) -> None:
        if name in SETTINGS:
            field, read = SETTINGS[name]
            chosen = getattr(NO_WISHES, field) if value is None else read(value)
            self.change(person, **{field: chosen})
        elif name == CLIENT_ZONE:
            self.change(person, client_zone=value)
        elif name == BOT:
            (self._bots.add if _switch(value or "") else self._bots.discard)(person)

    def word(self, person: int, name: str) -> str | None:
        """The value of a setting as it is typed; None: nothing is chosen, and there is no default.

        KeyError for a name that is none of SETTINGS.
        """
        value = getattr(self.of(person), SETTINGS[name][0])
        if isinstance(value, bool):
            return "on" if value else "off"
        return None if value is None else str(value)

    def is_bot(self, person: int) -> bool:
        """Whether an author says that he is a program."""
        return person in self._bots

    def forget(self, person: int) -> None:
        """Somebody has left: he has chosen nothing any more."""
        self._bots.discard(person)
        self._graph.set_wishes(person, NO_WISHES)

    def of(self, person: int) -> Wishes:
        """What a person has chosen, with the defaults for the rest."""
        return self._graph.wishes(person)
