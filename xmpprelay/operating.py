"""What the operator asks of a running relay: by the control socket, and by admins' own commands.

Each command of the command line that the relay itself has to carry out ends here, in a function of
a `Request`; so do the ad-hoc commands that only the `admins` of the configuration may give. All of
them are noted in the audit, with who did it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from xmpprelay.activity import Activity
from xmpprelay.approval import Approval
from xmpprelay.control import Handler, Request
from xmpprelay.core.activity import Span
from xmpprelay.core.activity import told as told_series
from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.health import Flag
from xmpprelay.core.primary import Probe
from xmpprelay.core.volume import Tier
from xmpprelay.errors import Refused
from xmpprelay.inserting import Inserting
from xmpprelay.keeping_out import KeepingOut
from xmpprelay.overview import Looking
from xmpprelay.overview import told as told_overview
from xmpprelay.people import People
from xmpprelay.post_files import refuse_again, take_over
from xmpprelay.store.database import Database
from xmpprelay.store.keeping_out import COMMAND_LINE
from xmpprelay.trickle.orders import carry_out, noted, order_of
from xmpprelay.trickle.standby import Situation
from xmpprelay.volume import Volume
from xmpprelay.xmpp.adhoc import WHOM, AdminCommand


class Operating:
    """The operator's side of one relay."""

    def __init__(
        self,
        db: Database,
        people: People,
        approval: Approval,
        keeping_out: KeepingOut,
        volume: Volume,
        inserting: Inserting,
        looking: Looking,
        activity: Activity,
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._people = people
        self._approval = approval
        self._keeping_out = keeping_out
        self._volume = volume
        self._inserting = inserting
        self._looking = looking
        self._activity = activity
        self._now = now

    def handlers(self) -> Mapping[str, Handler]:
        """What is done at each command of the control socket."""
        return {
            "status": self._status,
            "people.import": self._import_people,
            "people.tier": self._pin_tier,
            "block": self._block,
            "unblock": self._unblock,
            "primary.status": self._primary_status,
            "primary.standby": self._set_standby,
            "primary.probe": self._probe,
            "journal.order": self._order,
            "journal.import": self._import_posts,
        }

    def admin_commands(self) -> list[AdminCommand]:
        """The ad-hoc commands of admins."""
        return [
            AdminCommand("admin-block", "Operator: block", self._admin_blocks, WHOM),
            AdminCommand("admin-unblock", "Operator: end a block", self._admin_unblocks, WHOM),
            AdminCommand("admin-blocks", "Operator: list blocks", self._admin_lists_blocks),
        ]

    async def _status(self, request: Request) -> Any:
        span = Span(str(request.arguments["span"]))
        overview, series = await self._looking.look(), await self._activity.series(span)
        return told_overview(overview) | {"activity": told_series(series)}

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

    # The primary

    async def _primary_status(self, _request: Request) -> Any:
        return [told(each) for each in await self._inserting.situations()]

    async def _set_standby(self, request: Request) -> Any:
        flag = Flag(str(request.arguments["flag"]))
        sites = self._sites(request)
        situations = [await self._inserting.standby.flag(site, flag) for site in sites]
        for site in sites:
            await self._keeping_out.note(COMMAND_LINE, f"standby {flag.value}", site or "primary")
        return [told(each) for each in situations]

    async def _probe(self, request: Request) -> Any:
        standby = self._inserting.standby
        return [probed(site, (await standby.probe_now(site))[0]) for site in self._sites(request)]

    def _sites(self, request: Request) -> Sequence[str]:
        sites = [str(site) for site in request.arguments["sites"]]
        for site in sites:
            if site not in self._inserting.places:
                raise Refused(
                    "The running relay has other primaries than its configuration: restart it."
                )
        return sites

    async def _order(self, request: Request) -> Any:
        order = order_of(request.arguments)
        posts = await carry_out(
            self._db,
            order,
            self._now(),
            progress=request.progress,
            chosen=self._inserting.engine.chosen,
        )
        await self._keeping_out.note(COMMAND_LINE, *noted(order, posts))
        return {"posts": posts}

    # Posts of other relays

    async def _import_posts(self, request: Request) -> Any:
        digest = str(request.arguments["digest"])
        await refuse_again(self._db, digest)
        people = [row for row in request.rows if "person" in row]
        await self._people.add_all(
            [(row["person"], row["handle"], ()) for row in people], lambda _: None
        )
        for row in people:
            if row["protected"]:
                await self._approval.protect(await self._people.known(row["person"]), True)
        done = await take_over(
            self._db,
            request.rows[len(people) :],
            digest,
            account_of=self._inserting.accounts.for_author if request.arguments["insert"] else None,
            queued=self._inserting.engine.queued,
            progress=request.progress,
        )
        for row in people:  # their feeds have more in them now
            self._approval.shown_otherwise((await self._people.known(row["person"])).id)
        await self._keeping_out.note(COMMAND_LINE, "journal import", f"{done.new} posts")
        return asdict(done)


def told(situation: Situation) -> dict[str, Any]:
    """How a primary is, for the control socket."""
    since = situation.since
    return {
        "site": situation.site,
        "state": situation.stance.value,
        "since": None if since is None else since.isoformat(),
        "reason": "" if since is None else situation.reason,
        "detail": "" if since is None else situation.detail,
        "flag": situation.flag.value,
        "per_second": situation.per_second,
    }


def probed(site: str, probe: Probe) -> dict[str, Any]:
    """What a probe has found, for the control socket."""
    caps = probe.caps
    return {
        "site": site,
        "reach": probe.reach.value,
        "reason": probe.reason,
        "detail": probe.detail,
        "software": None if caps is None else caps.software,
        "max_chars": None if caps is None else caps.max_chars,
    }
