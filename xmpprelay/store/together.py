"""Questions of one kind that come at the same time, asked as one.

A trip to the database takes as long for one key as for a hundred. Whoever asks in the same turn of
the loop, or while such a question is under way, is in the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from xmpprelay.errors import StoreError

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")

AT_ONCE: Final = 500
"""Keys in one question: what is found is read by the loop's thread. A guess."""


class Together(Generic[Key, Found]):
    """Asks what there is of many keys by `ask_all`, one question at a time."""

    def __init__(self, ask_all: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Found]]]) -> None:
        self._ask_all = ask_all
        self._turn = asyncio.Lock()
        self._keys: dict[Key, None] = {}
        self._next: asyncio.Task[Mapping[Key, Found]] | None = None

    async def ask(self, key: Key) -> Found | None:
        """What there is of a key, not before the call; None: nothing.

        Raises StoreError, or what `ask_all` does. A cancellation leaves the others' answers alone.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._round(), name="questions")
        self._keys[key] = None
        question = self._next
        try:
            found = await asyncio.shield(question)
        except StoreError as error:  # one object that is raised in many tasks mixes their traces
            raise type(error)(error.sentence) from error
        return found.get(key)

    async def _round(self) -> Mapping[Key, Found]:
        async with self._turn:
            keys, self._keys, self._next = list(self._keys), {}, None
            found: dict[Key, Found] = {}
            for first in range(0, len(keys), AT_ONCE):
                found.update(await self._ask_all(keys[first : first + AT_ONCE]))
            return found
