"""What the operator asks of a running relay: by the control socket, and by admins' own commands.

Each command of the command line that the relay itself has to carry out ends here, in a function of
a `Request`; so do the ad-hoc commands that only the `admins` of the configuration may give. All of
them are noted in the audit, with who did it.
"""

from collections.abc import Mapping
from typing import Any

from xmpprelay.control import Handler, Request
from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.volume import Tier
from xmpprelay.keeping_out import KeepingOut
from xmpprelay.people import People
from xmpprelay.store.keeping_out import COMMAND_LINE
from xmpprelay.volume import Volume
from xmpprelay.xmpp.adhoc import WHOM, AdminCommand


class Operating:
    """The operator's side of one relay."""

    def __init__(self, people: People, keeping_out: KeepingOut, volume: Volume) -> None:
        self._people = people
        self._keeping_out = keeping_out
        self._volume = volume

    def handlers(self) -> Mapping[str, Handler]:
        """What is done at each command of the control socket."""
        return {
            "people.import": self._import_people,
            "people.tier": self._pin_tier,
            "block": self._block,
            "unblock": self._unblock,
        }

    def admin_commands(self) -> list[AdminCommand]:
        """The ad-hoc commands of admins."""
        return [
            AdminCommand("admin-block", "Operator: block", self._admin_blocks, WHOM),
            AdminCommand("admin-unblock", "Operator: end a block", self._admin_unblocks, WHOM),
            AdminCommand("admin-blocks", "Operator: list blocks", self._admin_lists_blocks),
        ]

    # People

    async def _import_people(self, request: Request) -> Any:
        rows = [(jid, handle, tuple(follows)) for jid, handle, follows in request.rows]
        people, follows = await self._people.add_all(
            rows, lambda done: request.progress(done, len(rows))
        )
        await self._keeping_out.note(
            COMMAND_LINE, "people import", f"{people} people, {follows} new follows"
        )
        return {"people": people, "follows": follows}

    async def _pin_tier(self, request: Request) -> Any:
        tier = request.arguments["tier"]
        handle = str(request.arguments["handle"])
        await self._volume.pin(handle, None if tier is None else Tier(str(tier)))

    # Blocks

    async def _block(self, request: Request) -> Any:
        typed = str(request.arguments["target"])
        return await self._keeping_out.operator_block(typed, COMMAND_LINE)

    async def _unblock(self, request: Request) -> Any:
        typed = str(request.arguments["target"])
        return await self._keeping_out.operator_unblock(typed, COMMAND_LINE)

    async def _admin_blocks(self, target: str, who: str) -> str:
        blocked, new = await self._keeping_out.operator_block(target, who)
        return f"{blocked} is blocked now." if new else f"{blocked} was blocked already."

    async def _admin_unblocks(self, target: str, who: str) -> str:
        ended, there = await self._keeping_out.operator_unblock(target, who)
        return f"{ended} is blocked no more." if there else f"{ended} was not blocked."

    async def _admin_lists_blocks(self, target: str, who: str) -> str:
        del target, who
        return "\n".join(self._keeping_out.blocks(OPERATOR)) or "Nobody is blocked."
