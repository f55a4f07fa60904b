"""The scene: people and their servers, the relay, the stream between them, and what fails.

What people do is in `crowd.py`; from here they get what they need for it.
"""

from typing import Final

from tests.properties.world.agenda import Agenda, Pipe
from tests.properties.world.disk import Disk
from tests.properties.world.ledger import Ledger
from tests.properties.world.plan import CALM, EVERYTHING, Plan
from tests.properties.world.relay import Relay, Stream
from tests.properties.world.servers import Account, Device, Link, Server
from tests.properties.world.stanzas import Bounce, FromRelay, Ping, ToRelay
from xmpprelay.core.model import OWN_LANE, Grant, Person, Standing

NAMES: Final = (
    "alice", "bob", "carol", "dave", "erin", "frank",
    "grace", "heidi", "ivan", "judy", "mallory", "niaj",
)  # fmt: skip
RESOURCES: Final = ("phone", "laptop", "desk")
TICK_S: Final = 60.0


class Scene:
    """One world without its people's doings."""

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

    def mend_all(self) -> None:
        """All faults are over."""
        self._hear()
        for link in self.links.values():
            self._mend(link)

    def _hear(self) -> None:
        self._deaf_lane = None

    def _mend(self, link: Link) -> None:
        link.slow = 1.0
        if link.state != "up":
            link.mend()
