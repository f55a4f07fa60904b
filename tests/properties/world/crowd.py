"""What people do, by the dice: post, come and go, block, follow, ask for more."""

from functools import partial

from tests.properties.world.scene import Scene
from tests.properties.world.servers import ASLEEP, OFF, Account, Device, Server
from xmpprelay.core.model import OWN_LANE


class Crowd:
    """The people of one scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._rng = scene.rng
        self._agenda = scene.agenda

    def something(self) -> None:
        """Somebody does something."""
        rng = self._rng
        person = rng.choice(self._scene.people).id
        account = self._scene.accounts[person]
        server = self._scene.servers[self._scene.disk.lanes[person]]
        device = rng.choice(list(account.devices.values()))
        dice = rng.random()
        if dice < 0.5:
            if self._scene.relay is not None and self._scene.stream is not None:
                for _ in range(rng.choice((1, 1, 2, 5, 9))):
                    self._scene.relay.post(rng.choice(self._scene.authors))
        elif dice < 0.86:
            if self._reachable(server):
                self._touch(server, account, device)
        elif dice < 0.9:
            self._change_mind(server, account)
        elif self._scene.relay is not None and self._scene.stream is not None:
            self._ask(person)

    def _reachable(self, server: Server) -> bool:
        """Whether people can be logged in there."""
        if server.name == OWN_LANE:
            return self._scene.server_up
        return True

    def _touch(self, server: Server, account: Account, device: Device) -> None:
        rng = self._rng
        if self._agenda.tracing:
            self._agenda.note(f"{account.person}'s {device.name} is {device.state}")
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
                    self._agenda.after(asleep_s, lambda: self._wake(server, account, device))
                case 6:
                    server.set_priority(account, device, rng.choice((0, 5, -1)))
                case _:
                    server.log_out(account, device)
                    delay_s = rng.choice((0.0, 0.1, 1.0)) * rng.random()
                    self._agenda.after(delay_s, lambda: self._back(server, account, device))
        if self._agenda.tracing:
            self._agenda.note(f"{account.person}'s {device.name} becomes {device.state}")

    def _wake(self, server: Server, account: Account, device: Device) -> None:
        if device.state == ASLEEP and self._reachable(server):
            if self._rng.random() < 0.5:
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
            if other.state == ASLEEP and self._rng.random() < 0.5:
                delay_s = self._rng.uniform(0.0, 0.4)
                self._agenda.after(delay_s, partial(self._too_late, server, account, other))

    def _too_late(self, server: Server, account: Account, device: Device) -> None:
        if device.state == ASLEEP:
            server.time_out(account, device)

    def _change_mind(self, server: Server, account: Account) -> None:
        rng = self._rng
        dice = rng.random()
        if dice < 0.4:
            account.blocked ^= {rng.choice(self._scene.authors)}
            self._agenda.note(f"{account.person} blocks {sorted(account.blocked)}")
        elif dice < 0.6:
            account.full = not account.full
        elif account.person in self._scene.disk.standings and (
            not account.shows or rng.random() < 0.3
        ):
            server.grant(account, not account.shows)

    def _ask(self, person: int) -> None:
        """Something by a command: follow, unfollow, more, skip."""
        rng, relay = self._rng, self._scene.relay
        assert relay is not None
        author = rng.choice(self._scene.authors)
        dice = rng.random()
        if dice < 0.5:
            if (person, author) not in self._scene.disk.follows and person != author:
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

    def come_home(self, account: Account) -> None:
        """A person is online in the end, with a device that takes messages."""
        server = self._scene.servers[self._scene.disk.lanes[account.person]]
        account.full = False
        if not account.shows:
            account.blocked.clear()  # each bounce stops sending to him for a day (S11.4)
        if account.person in self._scene.disk.standings:
            server.grant(account, account.shows)
        for device in account.devices.values():
            if device.state == ASLEEP:
                server.resume(device)
        device = self._rng.choice(list(account.devices.values()))
        if device.state != OFF:
            server.log_out(account, device)
        server.log_in(account, device, 0, direct=False)
