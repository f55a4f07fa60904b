"""Questions that come at the same time are asked as one, each by a fresh look."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from xmpprelay.errors import JournalFull, StoreError
from xmpprelay.store.together import AT_ONCE, Together


class Shelf:
    """Has the even numbers; notes what it was asked for, and answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may = asyncio.Event()
        self.may.set()
        self.failure: StoreError | None = None

    async def look(self, keys: Sequence[int]) -> Mapping[int, str]:
        self.asked.append(list(keys))
        await self.may.wait()
        if self.failure is not None:
            raise self.failure
        return {key: f"no. {key}" for key in keys if key % 2 == 0}


async def test_those_of_one_turn_are_asked_together_each_key_once() -> None:
    shelf = Shelf()
    together = Together(shelf.look)
    found = await asyncio.gather(*(together.ask(key) for key in (1, 2, 3, 2)))
    assert found == [None, "no. 2", None, "no. 2"]
    assert shelf.asked == [[1, 2, 3]]


async def test_who_comes_meanwhile_is_in_the_next_question() -> None:
    """What is under way may have looked already, before the key was there."""
    shelf = Shelf()
    together = Together(shelf.look)
    shelf.may.clear()
    first = asyncio.create_task(together.ask(2))
    while not shelf.asked:  # noqa: ASYNC110 - of the turns that it takes
        await asyncio.sleep(0)
    later = [asyncio.create_task(together.ask(key)) for key in (2, 4)]
    for _ in range(9):
        await asyncio.sleep(0)
    assert shelf.asked == [[2]]
    shelf.may.set()
    assert await asyncio.gather(first, *later) == ["no. 2", "no. 2", "no. 4"]
    assert shelf.asked == [[2], [2, 4]]


async def test_many_are_several_questions() -> None:
    shelf = Shelf()
    together = Together(shelf.look)
    found = await asyncio.gather(*(together.ask(key) for key in range(AT_ONCE + 1)))
    assert [len(keys) for keys in shelf.asked] == [AT_ONCE, 1]
    assert found[AT_ONCE] == f"no. {AT_ONCE}"


async def test_one_who_goes_takes_nobody_along() -> None:
    shelf = Shelf()
    together = Together(shelf.look)
    shelf.may.clear()
    gone, stays = (asyncio.create_task(together.ask(key)) for key in (2, 4))
    while not shelf.asked:  # noqa: ASYNC110 - of the turns that it takes
        await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    shelf.may.set()
    assert await stays == "no. 4"


async def test_each_is_told_of_a_failure_and_the_next_is_asked_again() -> None:
    shelf = Shelf()
    together = Together(shelf.look)
    shelf.failure = JournalFull("no room")
    errors = await asyncio.gather(*(together.ask(key) for key in (1, 2)), return_exceptions=True)
    assert [(type(error), str(error)) for error in errors] == [(JournalFull, "no room")] * 2
    assert errors[0] is not errors[1]
    shelf.failure = None
    assert await together.ask(2) == "no. 2"
