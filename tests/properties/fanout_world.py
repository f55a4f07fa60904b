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
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from tests.properties.world.agenda import Agenda, Pipe
from tests.properties.world.disk import Disk
from tests.properties.world.ledger import Ledger
from tests.properties.world.plan import CALM, EVERYTHING, Plan
from tests.properties.world.relay import Relay, Stream
from tests.properties.world.servers import ASLEEP, OFF, Account, Device, Link, Server
from tests.properties.world.stanzas import Bounce, FromRelay, Ping, ToRelay
from xmpprelay.core.model import OWN_LANE, Grant, Person, Standing
from xmpprelay.core.recipients import State

NAMES: Final = (
    "alice", "bob", "carol", "dave", "erin", "frank",
    "grace", "heidi", "ivan", "judy", "mallory", "niaj",
)  # fmt: skip
RESOURCES: Final = ("phone", "laptop", "desk")
TICK_S: Final = 60.0
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
    world = World(Plan.of(seed), trace=trace)
    world.live()
    ledger = world.ledger
    return Result(
        seed=seed,
        mode=world.plan.mode,
        problems=ledger.problems,
        trace=world.agenda.lines,
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


class World:
    """One world, from its plan to its end."""

    def __init__(self, plan: Plan, *, trace: bool) -> None:
        self.plan = plan
        self.rng = plan.rng
        self.agenda = Agenda(trace=trace)
        self._make_people()
        lanes = zip(self.people, self._lanes, strict=True)
        self.disk = Disk({person.id: lane for person, lane in lanes})
        calm = plan.mode == CALM
        whole = plan.catchup == EVERYTHING
        self.ledger = Ledger(
            self.agenda, self.disk, calm=calm, whole=whole, window=plan.sizes.window
        )
        self._make_servers()
        self._make_accounts()
        self.stream: Stream | None = None
        self.server_up = True
        self._connecting = 0
        self._deaf_lane: str | None = None  # pings of that lane are lost at the moment
        self.relay: Relay | None = None
        self._start_relay()
        self.agenda.after(TICK_S, self._tick, background=True)

    def _make_people(self) -> None:
        plan, rng = self.plan, self.rng
        lanes = [OWN_LANE] * 6 + [plan.remote_domains[0]] * 3 + [plan.remote_domains[1]] * 3
        rng.shuffle(lanes)
        self._lanes = lanes
        self.people = [
            Person(at + 1, f"{name}@{lane or plan.own_domain}", name)
            for at, (name, lane) in enumerate(zip(NAMES, lanes, strict=True))
        ]
        self.authors = rng.sample([person.id for person in self.people], 3)

    def _make_servers(self) -> None:
        plan, rng = self.plan, self.rng
        self.servers: dict[str, Server] = {}
        self.links: dict[str, Link] = {}
        for lane in (OWN_LANE, *plan.remote_domains):
            custom = rng.choice(("prosody", "ejabberd"))
            server = Server(lane, custom, self.agenda, rng, self.ledger, self._to_relay)
            self.servers[lane] = server
            if lane != OWN_LANE:
                self.links[lane] = Link(
                    self.agenda, rng, server, plan.link_s, self._to_relay, self._lost
                )

    def _make_accounts(self) -> None:
        rng, disk = self.rng, self.disk
        self.accounts: dict[int, Account] = {}
        for person in self.people:
            devices = {
                name: Device(name, rng.choice((0, 0, 5, -1)))
                for name in RESOURCES[: rng.randint(1, 3)]
            }
            shows = rng.random() < 0.9
            account = Account(person.id, devices, shows)
            account.wants = rng.choice(("grant",) * 6 + ("refuse", "nothing"))
            self.accounts[person.id] = account
            self.servers[disk.lanes[person.id]].accounts[person.id] = account
            follows = [
                author
                for author, share in zip(self.authors, (0.9, 0.6, 0.4), strict=True)
                if author != person.id and rng.random() < share
            ]
            if rng.random() < 0.2:
                follows = []
            for author in follows:
                disk.follows[person.id, author] = 1
            if follows:
                hidden = rng.choice((Grant.REFUSED, Grant.ASKED))
                grant = Grant.GRANTED if shows else hidden
                disk.standings[person.id] = Standing(person.id, 1, self.agenda.now(), grant=grant)
            else:
                account.shows = False

    # The relay, its server, and the stream between them

    def _start_relay(self) -> None:
        plan = self.plan
        self.relay = Relay(
            self.agenda, self.rng, plan, self.disk, self.people, self.ledger, self.lose_stream
        )
        self.ledger.restarted_s = self.agenda.now_s
        self.agenda.note("the relay starts")
        self._connect()

    def _connect(self) -> None:
        self._connecting += 1
        attempt = self._connecting

        def connected() -> None:
            if attempt != self._connecting or self.relay is None or self.stream is not None:
                return
            if not self.server_up:
                self.agenda.after(self.rng.uniform(0.2, 5.0), connected)
                return
            there = Pipe(self.agenda, self.plan.wire_s, self._at_server)  # type: ignore[arg-type]
            back = Pipe(self.agenda, self.plan.wire_s, self._at_relay)  # type: ignore[arg-type]
            self.stream = Stream(there, back)
            self.agenda.note("the stream is up")
            self.relay.up(self.stream)

        self.agenda.after(self.rng.uniform(0.01, 2.0), connected)

    def _at_server(self, stanza: FromRelay) -> None:
        """The own server processes a stanza of the relay."""
        if self.agenda.tracing:
            self.agenda.note(f"  > {stanza}")
        lane = stanza.lane if isinstance(stanza, Ping) else self.disk.lanes[stanza.person]
        if isinstance(stanza, Ping) and lane == self._deaf_lane:
            self.agenda.note("    and the ping is lost")
        elif lane == OWN_LANE:
            self.servers[lane].take(stanza)
        else:
            self.links[lane].take(stanza)

    def _to_relay(self, stanza: ToRelay) -> None:
        """A server has something to say to the relay."""
        if self.stream is None:
            self._lost([stanza])
        else:
            self.stream.back.put(stanza)

    def _at_relay(self, stanza: ToRelay) -> None:
        if self.agenda.tracing:
            self.agenda.note(f"  < {stanza}")
        if self.relay is not None:
            self.relay.take(stanza)

    def _lost(self, stanzas: list[object]) -> None:
        for stanza in stanzas:
            if isinstance(stanza, Bounce):
                self.ledger.bounce_lost((stanza.message.person, stanza.message.number))

    def _cut_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            keep = self.rng.randint(0, len(stream.there)) if self.server_up else 0
            self._lost(stream.there.cut(keep) + stream.back.cut())
            self._count_incident()

    def _count_incident(self) -> None:
        for lane in self.servers:
            self.ledger.incidents[lane] += 1

    def lose_stream(self) -> None:
        """The connection of the relay to its server breaks."""
        self.agenda.note("the stream is lost")
        self._cut_stream()
        if self.relay is not None:
            self.relay.lost()
            self._connect()

    def kill_relay(self, down_s: float) -> None:
        """The relay dies, and is started again."""
        relay, self.relay = self.relay, None
        if relay is None:
            return
        self.agenda.note("the relay is killed")
        relay.kill()
        if self.stream is None:
            self._count_incident()
        self._cut_stream()
        self.agenda.after(down_s, self._start_relay)

    def kill_server(self, down_s: float) -> None:
        """The own server dies, with all sessions on it."""
        self.agenda.note("the own server is killed")
        self.server_up = False
        self.servers[OWN_LANE].crash()
        for link in self.links.values():
            link.forget()
        if self.stream is not None:
            self.lose_stream()

        def up() -> None:
            self.server_up = True

        self.agenda.after(down_s, up)

    def _tick(self) -> None:
        if self.relay is not None:
            self.relay.tick()
        self.agenda.after(TICK_S, self._tick, background=True)

    # Faults

    def fault(self, kind: str) -> None:
        """Something fails; after a while it is well again."""
        rng = self.rng
        domain = rng.choice(self.plan.remote_domains)
        while_s = rng.choice((15.0, 40.0, 150.0, 900.0))
        link = self.links[domain]
        self.agenda.note(f"fault: {kind} ({domain}, {while_s:.0f} s)")
        match kind:
            case "kill relay":
                self.kill_relay(rng.choice((0.1, 2.0, 30.0, 700.0)))
                if rng.random() < 0.2:
                    self.agenda.after(rng.uniform(0.1, 3.0), lambda: self.kill_relay(0.5))
            case "kill server":
                self.kill_server(rng.choice((0.3, 5.0, 60.0)))
            case "lose stream":
                if self.stream is not None:
                    self.lose_stream()
            case "lose pings":
                self._deaf_lane = rng.choice((OWN_LANE, domain))
                self.agenda.after(rng.uniform(0.5, 15.0), self._hear)
            case "slow domain":
                link.slow = rng.choice((20.0, 100.0))
                self.agenda.after(while_s, lambda: self._mend(link))
            case _:
                if link.state != "up":
                    return
                link.cut("hanging" if kind == "hang domain" else "refused")
                if kind == "kill remote server":
                    self.servers[domain].crash()
                self.agenda.after(while_s, lambda: self._mend(link))

    def _hear(self) -> None:
        self._deaf_lane = None

    def _mend(self, link: Link) -> None:
        link.slow = 1.0
        if link.state != "up":
            link.mend()

    # What people do

    def live(self) -> None:
        """From the first moment to the end."""
        plan, rng = self.plan, self.rng
        self.agenda.run_until(5.0)
        faults = sorted((rng.randrange(1, plan.moments), kind) for kind in plan.faults)
        for moment in range(plan.moments):
            at_s = self.agenda.now_s
            for _ in range(rng.randint(3, 12)):
                self._within(at_s, self._something)
            for due, kind in faults:
                if due == moment:
                    self.agenda.at(at_s + rng.uniform(0.0, 3.0), partial(self.fault, kind))
            gap_s = rng.choice((0.2, 1.0, 3.0, 3.0, 20.0, 90.0, 400.0, 1500.0))
            self._run(at_s + gap_s)
        self._run(self.agenda.now_s + 30.0)
        self._end()

    def _within(self, at_s: float, do: Callable[[], None]) -> None:
        self.agenda.at(at_s + self.rng.choice((0.0, 0.1, 0.5, 3.0)) * self.rng.random(), do)

    def _run(self, end_s: float) -> None:
        self.agenda.run_until(end_s)

    def _something(self) -> None:
        rng = self.rng
        person = rng.choice(self.people).id
        account = self.accounts[person]
        server = self.servers[self.disk.lanes[person]]
        device = rng.choice(list(account.devices.values()))
        dice = rng.random()
        if dice < 0.5:
            if self.relay is not None and self.stream is not None:
                for _ in range(rng.choice((1, 1, 2, 5, 9))):
                    self.relay.post(rng.choice(self.authors))
        elif dice < 0.86:
            if self._reachable(server):
                self._touch(server, account, device)
        elif dice < 0.9:
            self._change_mind(server, account)
        elif self.relay is not None and self.stream is not None:
            self._ask(person)

    def _reachable(self, server: Server) -> bool:
        """Whether people can be logged in there."""
        if server.name == OWN_LANE:
            return self.server_up
        return True

    def _touch(self, server: Server, account: Account, device: Device) -> None:
        rng = self.rng
        if self.agenda.tracing:
            self.agenda.note(f"{account.person}'s {device.name} is {device.state}")
        if device.state == OFF:
            direct = not account.shows and rng.random() < 0.3
            server.log_in(account, device, rng.choice((0, 0, 0, 5, -1)), direct=direct)
        elif device.state == ASLEEP:
            if rng.random() < 0.5:
                server.resume(device)
            else:
                self._time_out(server, account, device)
        else:
            match rng.randrange(8):
                case 0 | 1 | 2:
                    server.log_out(account, device)
                case 3 | 4 | 5:
                    server.fall_asleep(device)
                    asleep_s = rng.choice((1.0, 30.0, 300.0))
                    self.agenda.after(asleep_s, lambda: self._wake(server, account, device))
                case 6:
                    server.set_priority(account, device, rng.choice((0, 5, -1)))
                case _:
                    server.log_out(account, device)
                    delay_s = rng.choice((0.0, 0.1, 1.0)) * rng.random()
                    self.agenda.after(delay_s, lambda: self._back(server, account, device))
        if self.agenda.tracing:
            self.agenda.note(f"{account.person}'s {device.name} becomes {device.state}")

    def _wake(self, server: Server, account: Account, device: Device) -> None:
        if device.state == ASLEEP and self._reachable(server):
            if self.rng.random() < 0.5:
                server.resume(device)
            else:
                self._time_out(server, account, device)

    def _back(self, server: Server, account: Account, device: Device) -> None:
        if device.state == OFF and self._reachable(server):
            server.log_in(account, device, 0, direct=False)

    def _time_out(self, server: Server, account: Account, device: Device) -> None:
        """A device times out; sometimes others of his do so a moment later."""
        server.time_out(account, device)
        for other in account.devices.values():
            if other.state == ASLEEP and self.rng.random() < 0.5:
                delay_s = self.rng.uniform(0.0, 0.4)
                self.agenda.after(delay_s, partial(self._too_late, server, account, other))

    def _too_late(self, server: Server, account: Account, device: Device) -> None:
        if device.state == ASLEEP:
            server.time_out(account, device)

    def _change_mind(self, server: Server, account: Account) -> None:
        rng = self.rng
        dice = rng.random()
        if dice < 0.4:
            account.blocked ^= {rng.choice(self.authors)}
            self.agenda.note(f"{account.person} blocks {sorted(account.blocked)}")
        elif dice < 0.6:
            account.full = not account.full
        elif account.person in self.disk.standings and (not account.shows or rng.random() < 0.3):
            server.grant(account, not account.shows)

    def _ask(self, person: int) -> None:
        """Something by a command: follow, unfollow, more, skip."""
        rng, relay = self.rng, self.relay
        assert relay is not None
        author = rng.choice(self.authors)
        dice = rng.random()
        if dice < 0.5:
            if (person, author) not in self.disk.follows and person != author:
                relay.follow(person, author)
            elif dice < 0.3:
                relay.unfollow(person, author)
                if rng.random() < 0.4:
                    relay.follow(person, author)
                    relay.post(author)
        elif dice < 0.85:
            relay.more(person, rng.choice((None, author)))
        else:
            relay.skip(person)

    # The end

    def _end(self) -> None:
        """Faults end, everybody logs in, the world comes to rest; then the books are closed."""
        self.plan.faults.clear()
        self._hear()
        for link in self.links.values():
            self._mend(link)
        self._run(self.agenda.now_s + 60.0)
        if not self._rest():
            return
        if self.plan.mode == CALM:
            self._check_live("before the last log-ins")
        for person in self.people:
            account = self.accounts[person.id]
            server = self.servers[self.disk.lanes[person.id]]
            account.full = False
            if not account.shows:
                account.blocked.clear()  # each bounce stops sending to him for a day (S11.4)
            self._within(self.agenda.now_s, partial(self._come_home, server, account))
        self._run(self.agenda.now_s + 5.0)
        for author in self.authors:
            if self.relay is not None:
                self.relay.post(author)
        if not self._rest():
            return
        for _ in range(4):  # people who hide their presence get the rest day by day
            if any(self.ledger.outstanding.values()):
                self._run(self.agenda.now_s + timedelta(days=1).total_seconds())
                if not self._rest():
                    return
        self._check_live("at the end")
        self._check_rows()
        blind = {p for p, account in self.accounts.items() if not account.shows}
        self.ledger.check_end(blind)

    def _come_home(self, server: Server, account: Account) -> None:
        if account.person in self.disk.standings:
            server.grant(account, account.shows)
        for device in account.devices.values():
            if device.state == ASLEEP:
                server.resume(device)
        device = self.rng.choice(list(account.devices.values()))
        if device.state != OFF:
            server.log_out(account, device)
        server.log_in(account, device, 0, direct=False)

    def _rest(self) -> bool:
        """Let the world come to rest; whether it did."""
        for _ in range(MOST_EVENTS):
            if not self.agenda.pending:
                return True
            self.agenda.step()
        self.ledger.problem("the world does not come to rest")
        return False

    def _check_live(self, when: str) -> None:
        assert self.relay is not None
        delivery = self.relay.delivery
        for person in self.disk.standings:
            account = self.accounts[person]
            online = account.shows and any(
                device.state != OFF and device.priority >= 0 for device in account.devices.values()
            )
            state = delivery.state_of(person)
            if state is State.CATCHING or (online and state is not State.LIVE):
                self.ledger.problem(f"{when} {person} is {state}")

    def _check_rows(self) -> None:
        assert self.relay is not None
        delivery = self.relay.delivery
        if self.disk.fanout:
            self.ledger.problem(f"fan-outs that nobody ends: {sorted(self.disk.fanout)}")
        for standing in self.disk.standings.values():
            live = delivery.state_of(standing.person) is State.LIVE
            if live != (standing.away_from is None) or (live and standing.missed):
                self.ledger.problem(f"live is {live}, and stored is {standing}")
        if delivery.in_flight():
            self.ledger.problem(f"{delivery.in_flight()} stanzas are still under way")


if __name__ == "__main__":
    print(story(int(sys.argv[1]), Path(f"seed-{sys.argv[1]}.txt")))
