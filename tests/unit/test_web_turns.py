"""Who has a page made when."""

import asyncio

import pytest
from aiohttp import web

from xmpprelay.web.turns import Turns


async def test_turns_come_one_after_the_other_in_the_order_of_asking() -> None:
    turns, order = Turns(), list[str]()

    async def takes(name: str) -> None:
        async with turns.one(lambda: True):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(*(takes(name) for name in "abc"))
    assert order == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


async def test_whoever_has_gone_is_passed_over() -> None:
    turns, gone, made = Turns(), set[str](), list[str]()

    async def takes(name: str) -> None:
        async with turns.one(lambda: name not in gone):
            gone.update("bc")
            made.append(name)

    asked = await asyncio.gather(*(takes(name) for name in "abcd"), return_exceptions=True)
    assert made == ["a", "d"]
    assert [type(each) for each in asked] == [
        type(None), web.HTTPServiceUnavailable, web.HTTPServiceUnavailable, type(None)
    ]  # fmt: skip


async def test_whatever_fails_in_its_turn_ends_it() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        async with turns.one(lambda: True):
            raise ZeroDivisionError
    async with turns.one(lambda: True):
        made = True
    assert made
