"""XMPP servers, their people's devices, and the link between two servers.

A server processes stanzas in order. It knows two customs, called after the servers that have them:
`prosody` keeps for later what finds nobody, and says who is unavailable; `ejabberd` sends it back,
and is silent about them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.properties.world.agenda import Agenda, Pipe, stamp
from tests.properties.world.ledger import Ledger
from tests.properties.world.stanzas import (
    Available,
    Bounce,
    FromRelay,
    Granted,
    Message,
    Ping,
    Pong,
    PresenceProbe,
    PresenceRequest,
    Sign,
    ToRelay,
    Unavailable,
)

OFF: Final = "off"
ON: Final = "on"
ASLEEP: Final = "asleep"  # its connection is gone, the server holds its session and its messages


@dataclass(slots=True)
class Device:
    """One client of a person."""

    name: str
    priority: int
    state: str = OFF
    since_s: float = 0.0  # when its presence was last sent
    queue: list[Message] = field(default_factory=list)


@dataclass(slots=True)
class Account:
    """One person on his server."""

    person: int
    devices: dict[str, Device]
    shows: bool  # the relay may see his presence
    wants: str = "grant"  # what he does when asked: grant, refuse or nothing
    blocked: set[int] = field(default_factory=set)  # authors whose messages are sent back
    offline: list[Message] = field(default_factory=list)
    full: bool = False  # nothing more is kept for him


class Server:
    """One server, or all of a domain's."""

    def __init__(
        self,
        name: str,
        custom: str,
        agenda: Agenda,
        rng: Random,
        ledger: Ledger,
        say: Callable[[ToRelay], None],
    ) -> None:
        self.name = name
        self.custom = custom
        self.say = say
        self.accounts: dict[int, Account] = {}
        self._agenda = agenda
        self._rng = rng
        self._ledger = ledger

    # What comes from the relay

    def take(self, stanza: FromRelay) -> None:
        """Process one stanza."""
        match stanza:
            case Message():
                self._message(stanza)
            case PresenceProbe(person):
                self._answer_probe(self.accounts[person])
            case PresenceRequest(person):
                account = self.accounts[person]
                if account.wants != "nothing":
                    self.grant(account, account.wants == "grant")
            case Ping(_, question):
                self.say(Pong(question, self._rng.choice((None, None, "service-unavailable"))))

    def _message(self, message: Message) -> None:
        account = self.accounts[message.person]
        if message.author in account.blocked:
            self._bounce(message, "service-unavailable", refused=True)
            return
        there = [device for device in account.devices.values() if device.state != OFF]
        if any(device.priority >= 0 for device in there):
            for device in there:  # the others get carbons
                self._hand(message, device)
        else:
            self._nobody(account, message)

    def _hand(self, message: Message, device: Device) -> None:
        if device.state == ON:
            self._ledger.seen(message, device.name)
        else:
            device.queue.append(message)
            self._ledger.kept[message.person, message.number] += 1

    def _nobody(self, account: Account, message: Message) -> None:
        if account.full:
            self._bounce(message, "resource-constraint")
        elif message.no_store and self.custom == "ejabberd":
            self._bounce(message, "service-unavailable")
        else:
            account.offline.append(message)
            self._ledger.kept[message.person, message.number] += 1

    def _bounce(self, message: Message, condition: str, *, refused: bool = False) -> None:
        bounce = Bounce(message, condition)
        self._ledger.came_back(bounce, refused=refused)
        self.say(bounce)

    def _answer_probe(self, account: Account) -> None:
        devices = [d for d in account.devices.values() if d.state != OFF]
        if not account.shows:
            devices = []
        self._ledger.answered(
            account.person, {device.name: (device.since_s, device.priority) for device in devices}
        )
        if not account.shows:
            return
        for device in devices:
            self.say(Available(account.person, device.name, device.priority, stamp(device.since_s)))
        if not devices and self.custom == "prosody":
            self.say(Unavailable(account.person, None))

    def grant(self, account: Account, shows: bool) -> None:
        """The person lets the relay see his presence, or does no longer."""
        account.shows = shows
        self.say(Granted(account.person, shows))
        for device in account.devices.values():
            if device.state == OFF:
                continue
            if shows:
                self.say(
                    Available(account.person, device.name, device.priority, stamp(device.since_s))
                )
            else:
                self.say(Unavailable(account.person, device.name))

    # What people do

    def log_in(self, account: Account, device: Device, priority: int, *, direct: bool) -> None:
        """A device comes online; `direct`: it tells the relay although it need not."""
        device.state, device.priority, device.since_s = ON, priority, self._agenda.now_s
        self._tell(account, device, direct=direct)
        self.say(Sign(account.person))
        if priority >= 0:
            self._hand_over(account, device)

    def set_priority(self, account: Account, device: Device, priority: int) -> None:
        """A device changes its priority."""
        device.priority, device.since_s = priority, self._agenda.now_s
        self._tell(account, device, direct=False)
        if priority >= 0:
            self._hand_over(account, device)

    def _tell(self, account: Account, device: Device, *, direct: bool) -> None:
        if account.shows or direct:
            self.say(Available(account.person, device.name, device.priority, None))

    def _hand_over(self, account: Account, device: Device) -> None:
        kept, account.offline = account.offline, []
        for message in kept:
            self._ledger.kept[message.person, message.number] -= 1
            self._ledger.seen(message, device.name)

    def log_out(self, account: Account, device: Device) -> None:
        """A device goes, by itself."""
        device.state = OFF
        self.say(Unavailable(account.person, device.name))  # directed presence is taken back too

    def fall_asleep(self, device: Device) -> None:
        """A device's connection breaks; nobody is told."""
        device.state = ASLEEP

    def resume(self, device: Device) -> None:
        """It is back, and gets what was held for it."""
        device.state = ON
        self._flush(device, lambda message: self._ledger.seen(message, device.name))

    def time_out(self, account: Account, device: Device) -> None:
        """It did not come back in time."""
        device.state = OFF
        tell_first = self._rng.random() < 0.5
        if tell_first:
            self.say(Unavailable(account.person, device.name))
        self._flush(device, lambda message: self._pass_on(account, message))
        if not tell_first:
            self.say(Unavailable(account.person, device.name))

    def _pass_on(self, account: Account, message: Message) -> None:
        """What a lost session held: `ejabberd` sends it back, also what another device had."""
        if self.custom == "ejabberd" and message.no_store:
            self._bounce(message, "service-unavailable")
            return
        others = [d for d in account.devices.values() if d.state != OFF and d.priority >= 0]
        if others:
            self._hand(message, self._rng.choice(others))
        else:
            self._nobody(account, message)

    def _flush(self, device: Device, give: Callable[[Message], None]) -> None:
        queue, device.queue = device.queue, []
        for message in queue:
            self._ledger.kept[message.person, message.number] -= 1
            give(message)

    # What happens to servers

    def crash(self) -> None:
        """All sessions are gone, with what was held for them; what is on its disk stays."""
        for account in self.accounts.values():
            for device in account.devices.values():
                device.state = OFF
                self._flush(device, self._lose)

    def _lose(self, message: Message) -> None:
        pair = message.person, message.number
        if not self._ledger.kept[pair] and not self._ledger.has_seen(*pair):
            self._ledger.excuse(*pair, "its server lost it")


class Link:
    """The connection of the own server to another domain's.

    `state` is up, refused (each stanza is answered by an error) or hanging (nothing is answered
    until the link is up again or refused).
    """

    def __init__(
        self,
        agenda: Agenda,
        rng: Random,
        server: Server,
        delay_s: Callable[[], float],
        home: Callable[[ToRelay], None],
        lost: Callable[[list[object]], None],
    ) -> None:
        self.state = "up"
        self.slow = 1.0  # how many times as slow as usual
        self._agenda = agenda
        self._rng = rng
        self._server = server
        self._home = home
        self._lost = lost
        self._waiting: list[FromRelay] = []
        self._delay_s = lambda: delay_s() * self.slow
        self._open()
        server.say = self._back_home

    def _open(self) -> None:
        self._there = Pipe(self._agenda, self._delay_s, self._server.take)  # type: ignore[arg-type]
        self._back = Pipe(self._agenda, self._delay_s, self._home)  # type: ignore[arg-type]

    def _back_home(self, stanza: ToRelay) -> None:
        if self.state == "up":
            self._back.put(stanza)
        else:
            self._lost([stanza])

    def take(self, stanza: FromRelay) -> None:
        """Send a stanza of the relay to the other domain."""
        match self.state:
            case "up":
                self._there.put(stanza)
            case "refused":
                self._refuse(stanza)
            case _:
                self._waiting.append(stanza)

    def _refuse(self, stanza: FromRelay) -> None:
        match stanza:
            case Message():
                self._home(Bounce(stanza, "remote-server-timeout"))
            case Ping(_, question):
                self._home(Pong(question, "remote-server-timeout"))

    def cut(self, state: str) -> None:
        """The link breaks, with all that is under way on it."""
        self.state = state
        self._lost(self._there.cut() + self._back.cut())
        self._open()
        if state == "refused":
            self._drain()

    def mend(self) -> None:
        """The link is up again; what waited goes on, in order."""
        self.state = "up"
        self._drain()

    def forget(self) -> None:
        """The own server died: all that was under way is gone."""
        self._waiting.clear()
        self._lost(self._there.cut() + self._back.cut())
        self._open()

    def _drain(self) -> None:
        waiting, self._waiting = self._waiting, []
        for stanza in waiting:
            self.take(stanza)
