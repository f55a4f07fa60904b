"""What has to reach whom, what has, and what should not have happened.

The ledger sees everything: the database, the wires and the devices. It knows nothing of how the
relay decides; it only keeps books. A pair is (person id, post number).
"""

from collections import Counter, defaultdict
from typing import Final

from tests.properties.world.agenda import Agenda
from tests.properties.world.disk import Disk
from tests.properties.world.stanzas import UNREACHABLE, Bounce, Message
from xmpprelay.core.model import Standing
from xmpprelay.core.recipients import day_of

Pair = tuple[int, int]
Devices = dict[str, tuple[float, int]]  # resource -> (since, priority)

REMEMBERED_S: Final = 14 * 60.0
"""A bounce within this time of the writing is judged by the devices that were there then."""

PROBED_S: Final = 15.0
"""Within this time after a bounce the relay has asked which devices are there, if it may ask."""


class Ledger:
    """The books of one run."""

    def __init__(self, agenda: Agenda, disk: Disk, *, calm: bool, whole: bool, window: int) -> None:
        self._agenda = agenda
        self._disk = disk
        self._calm = calm
        self._whole = whole  # returns bring everything to those who show their presence
        self._window = window
        self.problems: list[str] = []
        self.outstanding: dict[int, set[int]] = {person: set() for person in disk.lanes}
        self.deliveries = 0  # pairs that reached a device
        self.written = 0  # messages that the relay wrote
        self.repeated: Counter[str] = Counter()  # per lane, without a bounce before
        self.bounces = 0
        self.after_bounce = 0  # repeated because an earlier copy came back
        self.incidents: Counter[str] = Counter()  # per lane: what may make the relay repeat
        self.excused: Counter[str] = Counter()
        self.kept: Counter[Pair] = Counter()  # copies that a server holds for somebody
        self.volatile: Counter[Pair] = Counter()  # bounces that are not yet on the relay's disk
        self._seen: dict[Pair, set[int]] = {}  # -> the writings that reached a device
        self._seen_by: defaultdict[Pair, set[str]] = defaultdict(set)
        self._bounced: dict[Pair, float] = {}  # -> when a copy last came back
        self._answers: defaultdict[int, list[tuple[float, Devices]]] = defaultdict(list)
        self._left: defaultdict[tuple[int, str | None], float] = defaultdict(float)
        self._began: dict[tuple[str, int], float] = {}
        self._returned: dict[Pair, float] = {}
        self._highest: dict[tuple[int, int], int] = {}  # (person, author) -> newest written
        self._ever_written: set[Pair] = set()
        self._fetched: set[Pair] = set()
        self._full_days: defaultdict[Pair, set[int]] = defaultdict(set)
        self._refused: set[tuple[int, int]] = set()  # (person, author)
        self.restarted_s = 0.0

    def problem(self, text: str) -> None:
        """Something that must not happen has happened."""
        self.problems.append(f"at {self._agenda.now_s:.3f}: {text}")
        self._agenda.note(f"!! {text}")

    # What is owed

    def posted(self, number: int, author: int) -> None:
        """A post is committed: it is owed to everybody who follows its author."""
        for (follower, followed), since in self._disk.follows.items():
            if followed == author and follower != author and since <= number:
                self.outstanding[follower].add(number)

    def unfollowed(self, person: int, author: int) -> None:
        """Nothing of that author is owed to him any more."""
        posts = self._disk.posts
        self.outstanding[person] -= {
            n for n in self.outstanding[person] if posts[n].author == author
        }

    def excuse(self, person: int, number: int, why: str) -> None:
        """The scheme does not promise this one."""
        if number in self.outstanding[person]:
            self.outstanding[person].discard(number)
            self.excused[why] += 1

    def told_of(self, standing: Standing) -> None:
        """A person's return left these to `more`: he knows of them (S11.2)."""
        rest = standing.rest
        if rest is None:
            return
        below = self._disk.next_number if standing.away_from is None else standing.away_from
        owed = self.outstanding[standing.person]
        for number in [n for n in owed if rest.first <= n <= rest.last]:
            if number < below and number not in standing.missed:
                self.excuse(standing.person, number, "left to more")

    def fetched(self, person: int, numbers: list[int]) -> None:
        """He has asked for these by `more`; they come late."""
        self._fetched.update((person, number) for number in numbers)

    # What the relay writes

    def wrote(self, message: Message, *, held: bool) -> None:
        """The relay has written a copy."""
        self.written += 1
        pair = message.person, message.number
        if pair not in self._ever_written and pair not in self._fetched:
            self._check_order(message)
        if pair in self._seen and pair in self._bounced:
            self._judge_repeat(message)
        self._ever_written.add(pair)
        if held:
            self._returned[pair] = self._agenda.now_s
        else:
            lane = self._disk.lanes[message.person]
            self._began.setdefault((lane, message.number), self._agenda.now_s)

    def _check_order(self, message: Message) -> None:
        # Where a return is cut to the newest, one that a fault breaks off is cut anew.
        if self._calm or (self._whole and message.no_store):
            key = message.person, message.author
            if message.number < self._highest.get(key, 0):
                self.problem(f"{message} is written after #{self._highest[key]} of that author")
            self._highest[key] = max(message.number, self._highest.get(key, 0))

    def _judge_repeat(self, message: Message) -> None:
        """Sent again after a bounce: only if no device of then, that has it, is still there."""
        pair = message.person, message.number
        lane = self._disk.lanes[message.person]
        written_s = self._returned.get(pair, self._began.get((lane, message.number), 0.0))
        if not self._calm or written_s < self.restarted_s:
            return
        later = (each for each in self._answers[message.person] if each[0] >= self._bounced[pair])
        answered_s, devices = next(later, (0.0, {}))
        if answered_s - written_s > REMEMBERED_S or answered_s > self._bounced[pair] + PROBED_S:
            return
        for resource, (since_s, priority) in devices.items():
            there = priority >= 0 and int(since_s) + 1 <= written_s
            left_s = max(self._left[message.person, name] for name in (resource, None))
            if left_s >= answered_s:  # the relay has heard so: it may be what sent it back
                continue
            if there and resource in self._seen_by[pair]:
                self.problem(f"{message} is sent again though {resource} had it and is there")

    # What becomes of it

    def seen(self, message: Message, resource: str) -> None:
        """A device shows a copy."""
        pair = message.person, message.number
        writings = self._seen.setdefault(pair, set())
        self._seen_by[pair].add(resource)
        if message.writing in writings:
            return
        writings.add(message.writing)
        if len(writings) == 1:
            self.deliveries += 1
        elif pair in self._bounced:
            self.after_bounce += 1
        else:
            lane = self._disk.lanes[message.person]
            self.repeated[lane] += 1
            self._agenda.note(f"!  {pair} is repeated")
        self.outstanding[message.person].discard(message.number)

    def has_seen(self, person: int, number: int) -> bool:
        """Whether any of his devices has shown the post."""
        return (person, number) in self._seen

    def came_back(self, bounce: Bounce, *, refused: bool) -> None:
        """A server sends a copy back."""
        message = bounce.message
        pair = message.person, message.number
        self._bounced[pair] = self._agenda.now_s
        self.bounces += 1
        if refused:
            self._refused.add((message.person, message.author))
            self.excuse(*pair, "refused")
        elif bounce.condition not in UNREACHABLE:
            self.volatile[pair] += 1
        if not message.no_store:
            self._full_days[pair].add(day_of(message.person, self._agenda.now()))
            if len(self._full_days[pair]) > 1:
                self.excuse(*pair, "came back on two days")

    def bounce_lost(self, pair: Pair) -> None:
        """A bounce does not reach the relay's disk: nobody knows of it."""
        if self.volatile[pair]:
            self.volatile[pair] -= 1
            if pair not in self._seen:
                self.excuse(*pair, "its bounce was lost")

    def bounce_stored(self, pair: Pair) -> None:
        """The relay's disk knows of a bounce."""
        if self.volatile[pair]:
            self.volatile[pair] -= 1

    def answered(self, person: int, devices: Devices) -> None:
        """A server answers a probe; with nobody where the relay may not see him."""
        self._answers[person].append((self._agenda.now_s, devices))

    def left(self, person: int, resource: str | None) -> None:
        """The relay hears that a device, or each of them, is not there any more."""
        self._left[person, resource] = self._agenda.now_s

    def refusal_learned(self, person: int, author: int) -> None:
        """The relay takes it that a person blocks an author (S6.6)."""
        if (person, author) not in self._refused:
            self.problem(f"{person} never refused anything of {author}")

    # What a kill at this moment would do

    def check_disk(self) -> None:
        """If the relay died now, nothing would be lost, and little repeated (move 7)."""
        again: Counter[str] = Counter()
        for person, standing in self._disk.standings.items():
            lacked = self._disk.lacked_after_start(standing)
            for number in sorted(self.outstanding[person]):
                pair = person, number
                if not (lacked(number) or self.kept[pair] > 0 or self.volatile[pair] > 0):
                    self.problem(f"a kill now would lose #{number} for {person}")
            recent: list[int] = self._disk.open_numbers(person)
            if standing.away_from is not None:
                newest = range(standing.away_from, self._disk.next_number)
                recent = [*standing.missed, *newest]
            again[self._disk.lanes[person]] += sum(
                1 for n in recent if (person, n) in self._seen and (person, n) not in self._bounced
            )
        for lane, count in again.items():
            if count > 2 * self._window * (1 + self.incidents[lane]):
                self.problem(f"a kill now would repeat {count} in the lane {lane!r}")

    def check_end(self, blind: set[int]) -> None:
        """All is delivered; what is repeated is what faults allow."""
        for person, numbers in self.outstanding.items():
            for number in sorted(numbers):
                self.problem(f"#{number} is lost for {person}{' (blind)' * (person in blind)}")
        for lane, count in self.repeated.items():
            if count > 2 * self._window * self.incidents[lane]:
                self.problem(
                    f"{count} repeated in the lane {lane!r} by {self.incidents[lane]} incidents"
                )
