"""The simulated world around `core/delivery.py`: 12 people, 3 authors, three lanes, and what fails.

`run(seed)` lets a world live for an hour or so of its own time: people post, come and go, their
devices fall asleep and time out, they block, follow and unfollow, fetch what was left to `more`;
according to the plan of the seed processes die, streams and pings are lost, domains are slow or
dead, the disk stalls. Then the faults end, everybody logs in, and the world runs until nothing is
under way any more. The ledger says what was lost, repeated, out of order, or sent to strangers.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from tests.properties.world.crowd import Crowd
from tests.properties.world.plan import CALM, Plan
from tests.properties.world.scene import Scene
from tests.properties.world.servers import OFF
from xmpprelay.core.recipients import State

DAY_S: Final = 86_400.0
MOST_EVENTS: Final = 200_000
"""Events of one run; more means that something goes round in circles."""


@dataclass
class Result:
    """What became of one world."""

    seed: int
    mode: str
    problems: list[str]
    trace: list[str]
    deliveries: int
    repeated: int
    bounces: int
    after_bounce: int
    incidents: int
    excused: Counter[str]


@dataclass
class Figures:
    """What became of many."""

    seeds: int = 0
    deliveries: int = 0
    repeated: int = 0
    bounces: int = 0
    after_bounce: int = 0
    incidents: int = 0
    excused: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        """Count one more."""
        self.seeds += 1
        self.deliveries += result.deliveries
        self.repeated += result.repeated
        self.bounces += result.bounces
        self.after_bounce += result.after_bounce
        self.incidents += result.incidents
        self.excused.update(result.excused)

    def __str__(self) -> str:
        excused = ", ".join(f"{count} {why}" for why, count in sorted(self.excused.items()))
        return (
            f"{self.seeds} worlds: {self.deliveries} deliveries; {self.repeated} repeated by "
            f"{self.incidents} incidents; {self.bounces} bounces, {self.after_bounce} repeated "
            f"after one; not owed: {excused}"
        )


def run(seed: int, *, trace: bool = False) -> Result:
    """Let the world of a seed live and end."""
    scene = Scene(Plan.of(seed), trace=trace)
    Life(scene).live()
    ledger = scene.ledger
    return Result(
        seed=seed,
        mode=scene.plan.mode,
        problems=ledger.problems,
        trace=scene.agenda.lines,
        deliveries=ledger.deliveries,
        repeated=ledger.repeated.total(),
        bounces=ledger.bounces,
        after_bounce=ledger.after_bounce,
        incidents=ledger.incidents.total(),
        excused=ledger.excused,
    )


def story(seed: int, file: Path) -> str:
    """Let a seed live again, and tell what led to the first problem; all of it goes to a file."""
    result = run(seed, trace=True)
    file.write_text("\n".join(result.trace))
    told = [f"seed {seed} ({result.mode}): {len(result.problems)} problems; trace: {file}"]
    told += result.problems[:10]
    about = re.search(r"(?:person=| for )(\d+)", result.problems[0]) if result.problems else None
    words = ["fault", "stream", "kill", "starts"]
    if about is not None:
        words += [rf"person={about[1]}\b", rf"(?<![\w#]){about[1]}(?:'s|:| )"]
    concerns = re.compile("|".join(words))
    lines = [line[:200] for line in result.trace if concerns.search(line)]
    until = next((at for at, line in enumerate(lines) if "!!" in line), len(lines))
    return "\n".join([*told, *lines[max(0, until - 60) : until + 5]])


class Life:
    """What happens in one world, from the first moment to the last look into the books."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._crowd = Crowd(scene)
        self._agenda = scene.agenda

    def live(self) -> None:
        """Let people do things, and things fail; then let all come to rest."""
        plan, rng = self._scene.plan, self._scene.rng
        self._agenda.run_until(5.0)
        faults = sorted((rng.randrange(1, plan.moments), kind) for kind in plan.faults)
        for moment in range(plan.moments):
            at_s = self._agenda.now_s
            for _ in range(rng.randint(3, 12)):
                self._within(at_s, self._crowd.something)
            for due, kind in faults:
                if due == moment:
                    self._agenda.at(at_s + rng.uniform(0.0, 3.0), partial(self._scene.fault, kind))
            gap_s = rng.choice((0.2, 1.0, 3.0, 3.0, 20.0, 90.0, 400.0, 1500.0))
            self._run(at_s + gap_s)
        self._run(self._agenda.now_s + 30.0)
        self._end()

    def _within(self, at_s: float, do: Callable[[], None]) -> None:
        rng = self._scene.rng
        self._agenda.at(at_s + rng.choice((0.0, 0.1, 0.5, 3.0)) * rng.random(), do)

    def _run(self, end_s: float) -> None:
        self._agenda.run_until(end_s)

    # The end

    def _end(self) -> None:
        """Faults end, everybody logs in, the world comes to rest; then the books are closed."""
        scene = self._scene
        scene.mend_all()
        self._run(self._agenda.now_s + 60.0)
        if not self._rest():
            return
        if scene.plan.mode == CALM:
            self._check_live("before the last log-ins")
        for account in scene.accounts.values():
            self._within(self._agenda.now_s, partial(self._crowd.come_home, account))
        self._run(self._agenda.now_s + 5.0)
        for author in scene.authors:
            if scene.relay is not None:
                scene.relay.post(author)
        if not self._rest():
            return
        for _ in range(4):  # people who hide their presence get the rest day by day
            if any(scene.ledger.outstanding.values()):
                self._run(self._agenda.now_s + DAY_S)
                if not self._rest():
                    return
        self._check_live("at the end")
        self._check_rows()
        blind = {p for p, account in scene.accounts.items() if not account.shows}
        scene.ledger.check_end(blind)

    def _rest(self) -> bool:
        """Let the world come to rest; whether it did."""
        for _ in range(MOST_EVENTS):
            if not self._agenda.pending:
                return True
            self._agenda.step()
        self._scene.ledger.problem("the world does not come to rest")
        return False

    def _check_live(self, when: str) -> None:
        scene = self._scene
        assert scene.relay is not None
        for person in scene.disk.standings:
            account = scene.accounts[person]
            online = account.shows and any(
                device.state != OFF and device.priority >= 0 for device in account.devices.values()
            )
            state = scene.relay.delivery.state_of(person)
            if state is State.CATCHING or (online and state is not State.LIVE):
                scene.ledger.problem(f"{when} {person} is {state}")

    def _check_rows(self) -> None:
        scene = self._scene
        assert scene.relay is not None
        delivery = scene.relay.delivery
        if scene.disk.fanout:
            scene.ledger.problem(f"fan-outs that nobody ends: {sorted(scene.disk.fanout)}")
        for standing in scene.disk.standings.values():
            live = delivery.state_of(standing.person) is State.LIVE
            if live != (standing.away_from is None) or (live and standing.missed):
                scene.ledger.problem(f"live is {live}, and stored is {standing}")
        if delivery.in_flight() or delivery._board.windows:
            scene.ledger.problem(f"{delivery.in_flight()} stanzas are still under way")


if __name__ == "__main__":
    print(story(int(sys.argv[1]), Path(f"seed-{sys.argv[1]}.txt")))
