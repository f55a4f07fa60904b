"""Who may write to whom alone (S4.1): each setting, with each of the reasons that may open it."""

from pathlib import Path
from typing import Final

import pytest

from tests.integration.wire import Wire, wired

ALICE, BOB = "alice@example.test", "bob@far.test"

STRANGER: Final = ()
FOLLOWER: Final = ((BOB, "follow alice"),)
WROTE: Final = ((ALICE, "dms all"), (BOB, "d alice hello"), (ALICE, "dms followed"))
BLOCKED: Final = (*FOLLOWER, (BOB, "block alice"))
BLOCKS: Final = (*WROTE, (ALICE, "block bob"))


async def said(wire: Wire, who: str, line: str) -> str:
    wire.says(who, line)
    await wire.quiet()
    answers = [each for each in wire.taken() if each.to.startswith(who) and each.post_id is None]
    return answers[-1].body or answers[-1].text


@pytest.mark.parametrize(
    ("before", "setting", "goes"),
    [
        (STRANGER, "followed", False),
        (STRANGER, "all", True),
        (STRANGER, "none", False),
        (FOLLOWER, "followed", True),
        (FOLLOWER, "all", True),
        (FOLLOWER, "none", False),
        (WROTE, "followed", True),  # a direct message may be answered
        (WROTE, "none", True),
        (BLOCKED, "followed", False),
        (BLOCKED, "all", False),
        (BLOCKS, "followed", False),
        (BLOCKS, "all", False),
    ],
)
async def test_who_takes_a_direct_message(
    tmp_path: Path, before: tuple[tuple[str, str], ...], setting: str, goes: bool
) -> None:
    async with wired(tmp_path) as wire:
        await said(wire, ALICE, "join alice")
        await said(wire, BOB, "join bob")
        for who, line in before:
            await said(wire, who, line)
        await said(wire, BOB, f"dms {setting}")
        answer = await said(wire, ALICE, "d bob psst")
    assert (answer == "sent") is goes, answer
    if not goes:
        assert answer.startswith("@bob takes no direct messages from you, so nothing was sent")
