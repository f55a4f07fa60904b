"""One run of the relay: the fan-out itself, with a simulated shell around it.

It carries out work as `xmpp/outbox.py` does: rows are stored in order, one write at a time, and
whatever has queued up meanwhile in the next one; what is asked for on a stream is forgotten with
the stream.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from tests.properties.world.agenda import Agenda, Pipe
from tests.properties.world.disk import Disk, EndFollow, NewFollow, NewPost, Result, Row, Writer
from tests.properties.world.ledger import Ledger, Pair
from tests.properties.world.plan import Plan
from tests.properties.world.stanzas import (
    UNREACHABLE,
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
from xmpprelay.core.delivery import FIRST_CANARY_S, Delivery, without
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, DeliveryRows, Follow, Grant, Mode, Person, Post, Rest
from xmpprelay.core.routing import decide
from xmpprelay.core.work import (
    AllowanceUsed,
    Ask,
    AskLater,
    Canary,
    FillLater,
    Held,
    Probe,
    ProbeBounce,
    Read,
    RefusedBy,
    Store,
    Summary,
    Work,
    Write,
    pairs,
)

ANSWER_WITHIN_S: Final = 10.0
PROCESSED: Final = (None, "service-unavailable", "feature-not-implemented")


class Stream:
    """A connection of the relay to its server."""

    def __init__(self, there: Pipe, back: Pipe) -> None:
        self.there = there
        self.back = back


class Relay:
    """The relay from a start to a kill."""

    def __init__(
        self,
        agenda: Agenda,
        rng: Random,
        plan: Plan,
        disk: Disk,
        people: list[Person],
        ledger: Ledger,
        drop: Callable[[], None],
    ) -> None:
        self._agenda = agenda
        self._rng = rng
        self._plan = plan
        self._disk = disk
        self._ledger = ledger
        self._drop = drop  # gives the stream up
        self.dead = False
        self.stream: Stream | None = None
        disk.start(agenda)
        self.graph = Graph([plan.own_domain])
        for person in people:
            self.graph.add_person(person)
        for (follower, author), since in disk.follows.items():
            self.graph.add_follow(Follow(follower, author, Mode.AUTHOR, since))
        self.delivery = Delivery(self.graph, plan.sizes)
        self.delivery.server_reads_all(True)
        newest = [disk.posts[n] for n in sorted(disk.posts)[-plan.sizes.recent :]]
        self.delivery.load(disk.standings.values(), newest, disk.next_number)
        for person in people:
            self.delivery.set_catchup(person.id, plan.catchup)
        self._writer = Writer(
            agenda, rng, disk, self.graph, plan.commit_s, self._applied, self._written
        )
        self._to_store: deque[Store] = deque()
        self._storing = False
        self._waking = False
        self._questions: dict[int, Callable[[bool], None]] = {}
        self._late: dict[int, Callable[[], object]] = {}
        self._canaries: dict[str, int] = {}
        self._unstored: dict[int, list[Pair]] = {}  # person -> bounces that no row tells of yet
        self._told: dict[int, list[Pair]] = {}  # token -> bounces that its rows tell of
        self.summaries: list[tuple[int, int]] = []

    # Life and death

    def kill(self) -> None:
        """The process dies."""
        self.dead = True
        self._writer.kill()
        waiting = [pair for pairs in self._unstored.values() for pair in pairs]
        waiting += [pair for pairs in self._told.values() for pair in pairs]
        for pair in waiting:
            self._ledger.bounce_lost(pair)

    def up(self, stream: Stream) -> None:
        """The stream is up."""
        self.stream = stream
        self.delivery.stream_up(self._agenda.now())
        self.wake()

    def lost(self) -> None:
        """The stream is lost."""
        self.stream = None
        self._questions.clear()
        self._late.clear()
        self._canaries.clear()
        self.delivery.stream_lost(self._agenda.now())
        self.wake()

    def tick(self) -> None:
        """A minute has passed."""
        self.delivery.tick(self._agenda.now())
        self.wake()

    def wake(self) -> None:
        """There may be work."""
        if not self._waking:
            self._waking = True
            self._agenda.after(self._plan.turn_s(), self._turn)

    def _turn(self) -> None:
        if self.dead:
            return
        self._waking = False
        while True:
            room = self._plan.room()
            work = self.delivery.take(self._agenda.now(), room)
            for piece in work:
                self._carry_out(piece)
            if room < self._plan.sizes.in_flight:  # the write buffer is full for a moment
                self._agenda.after(0.05, self._wake_again)
                break
            if not work:
                break

    def _wake_again(self) -> None:
        if not self.dead:
            self.wake()

    def _event(self, do: Callable[[], None]) -> Callable[[], None]:
        """Something that happens later, if the relay and its stream are still the same then."""
        stream = self.stream

        def happen() -> None:
            if not self.dead and self.stream is stream:
                do()
                self.wake()

        return happen

    # Work

    def _carry_out(self, work: Work) -> None:
        match work:
            case Write():
                for person, post in pairs(work.live):
                    self._write(person, post, held=False)
                for person, post in work.held:
                    self._write(person, post, held=True)
            case Ask(window, lane, _):
                self._barrier(window, lane)
            case AskLater(window, _):
                self._agenda.after(1.0, self._event(lambda: self.delivery.window_due(window)))
            case FillLater(lane, after_s):
                self._agenda.after(after_s, self._event(lambda: self.delivery.fill_due(lane)))
            case Store():
                self._note_stored(work)
                self._to_store.append(work)
                self._store()
            case Read():
                self._agenda.after(self._plan.read_s(), lambda: self._read(work))
            case Probe(people):
                for person in people:
                    self._probe(person)
            case ProbeBounce(person, after_s):
                ask = self._event(lambda: self._probe_bounce(person))
                if after_s:
                    self._agenda.after(after_s, ask)
                else:
                    self._probe_bounce(person)
            case Summary(person, counts):
                self.summaries.append((person, sum(counts.values())))
            case RefusedBy(person, author):
                self._ledger.refusal_learned(person, author)
            case Canary(lane, after_s):
                if after_s == FIRST_CANARY_S:  # the breaker has just opened
                    self._ledger.incidents[lane] += 1
                self._set_canary(lane, after_s)
            case AllowanceUsed():
                pass

    def _lane(self, person: int) -> str:
        return self._disk.lanes[person]

    def _send(self, stanza: FromRelay) -> None:
        if self.stream is not None:
            self.stream.there.put(stanza)

    def _write(self, person: int, post: Post, *, held: bool) -> None:
        since = self._disk.follows.get((person, post.author))
        known = self.graph.follows_since(person, post.author)
        if known is None or known > post.number:
            self._ledger.problem(f"#{post.number} goes to {person}, who follows since {since}")
        no_store = self.delivery.grant_of(person) is Grant.GRANTED
        message = Message(person, post.number, post.author, self._plan.serial(), no_store)
        if self.stream is None:
            self._ledger.problem(f"{message} is written without a stream")
        self._ledger.wrote(message, held=held)
        self._send(message)

    # Questions

    def _ping(
        self, lane: str, done: Callable[[bool], None], late: Callable[[], object] = bool
    ) -> None:
        question = self._plan.serial()
        self._questions[question] = done
        self._late[question] = late
        self._send(Ping(lane, question))
        self._agenda.after(ANSWER_WITHIN_S, self._event(lambda: self._answered(question, False)))

    def _answered(self, question: int, confirmed: bool) -> None:
        done = self._questions.pop(question, None)
        if done is not None:
            done(confirmed)

    def _barrier(self, window: int, lane: str) -> None:
        def done(confirmed: bool) -> None:
            if confirmed:
                self.delivery.barrier_answered(window, lane, self._agenda.now())
            elif lane == OWN_LANE:
                self._drop()
            else:
                self.delivery.barrier_failed(window, lane, self._agenda.now())

        self._ping(
            lane, done, lambda: self.delivery.barrier_answered(window, lane, self._agenda.now())
        )

    def _set_canary(self, lane: str, after_s: float) -> None:
        serial = self._canaries[lane] = self._plan.serial()

        def done(confirmed: bool) -> None:
            if confirmed:
                self.delivery.lane_restored(lane, self._agenda.now())
            else:
                self.delivery.canary_failed(lane)

        def due() -> None:
            if self._canaries.get(lane) == serial:
                self._ping(lane, done)

        self._agenda.after(after_s, self._event(due), background=True)

    def _probe(self, person: int) -> None:
        lane = self._lane(person)
        delay_s = 0.0 if lane == OWN_LANE else self._rng.uniform(0.0, 0.5)
        if delay_s:
            self._agenda.after(delay_s, self._event(lambda: self._send(PresenceProbe(person))))
        else:
            self._send(PresenceProbe(person))

    def _probe_bounce(self, person: int) -> None:
        self._send(PresenceProbe(person))
        ended = lambda _: self.delivery.probe_ended(person, self._agenda.now())  # noqa: E731
        self._ping(self._lane(person), ended)

    # Rows and reads

    def _note_stored(self, work: Store) -> None:
        told = [pair for row in work.rows.standings for pair in self._unstored.pop(row.person, ())]
        if told:
            self._told[work.token] = told

    def _store(self) -> None:
        if self._storing:
            return
        self._storing = True
        batch = list(self._to_store)
        rows = DeliveryRows(
            cursors=tuple(cursor for store in batch for cursor in store.rows.cursors),
            standings=tuple(row for store in batch for row in store.rows.standings),
        )
        self._writer.submit(rows, lambda _: self._stored(batch))

    def _stored(self, batch: list[Store]) -> None:
        for store in batch:
            self._to_store.popleft()
            for pair in self._told.pop(store.token, ()):
                self._ledger.bounce_stored(pair)
            self.delivery.stored(store.token)
        self._storing = False
        if self._to_store:
            self._store()
        else:
            self.wake()

    def _applied(self, row: Row, result: Result) -> None:
        """The disk has taken a row; the books follow the disk."""
        match row, result:
            case NewPost(), (Post() as post, _):
                self._agenda.note(f"#{post.number} by {post.author} is committed")
                self._ledger.posted(post.number, post.author)
            case EndFollow(follower, author), _:
                self._agenda.note(f"{follower} follows {author} no more")
                self._ledger.unfollowed(follower, author)
            case NewFollow(follower, author), _:
                self._agenda.note(f"{follower} follows {author}")
            case DeliveryRows(), _:
                if self._agenda.tracing:
                    self._agenda.note(f"committed {_brief(row)}")
                for standing in row.standings:
                    self._ledger.told_of(standing)

    def _written(self) -> None:
        """A transaction is committed."""
        if self._plan.looks_at_disk():
            self._ledger.check_disk()

    def _read(self, read: Read) -> None:
        if self.dead:
            return
        numbers = {n for n in read.missed if n <= read.upto}
        numbers.update(range(read.away_from, read.upto + 1))
        found = [self._disk.posts[n] for n in sorted(numbers) if n in self._disk.posts]
        full = len(found) > self._plan.read_most
        found = found[: self._plan.read_most]
        allowed = [post for post in found if decide(self.graph, post, read.person).yes]
        upto = found[-1].number if full else read.upto
        if read.newest:
            keep = max(0, len(allowed) - read.limit)
            older = tuple((post.number, post.author) for post in allowed[:keep])
            held = Held(tuple(allowed[keep:]), upto, older)
        elif len(allowed) > read.limit:
            held = Held(tuple(allowed[: read.limit]), allowed[read.limit - 1].number)
        else:
            held = Held(tuple(allowed), upto)
        self._agenda.note(f"{read} gives {[p.number for p in held.posts]} up to {held.upto}")
        self.delivery.looked_up(read.person, held)
        self.wake()

    # What comes in

    def take(self, stanza: ToRelay) -> None:
        """One stanza from the server."""
        now = self._agenda.now()
        match stanza:
            case Available(person, resource, priority, stamp):
                if self.delivery.knows(person):
                    self.delivery.available(person, resource, priority, stamp, now)
            case Unavailable(person, resource):
                self._ledger.left(person, resource)
                if self.delivery.knows(person):
                    self.delivery.unavailable(person, resource, now)
            case Sign(person):
                self.delivery.sign_of(person)
            case Granted(person, shows):
                grant = Grant.GRANTED if shows else Grant.REFUSED
                self.delivery.set_grant(person, grant, now)
            case Bounce():
                self._bounced(stanza)
            case Pong(question, condition):
                if question in self._questions:
                    self._answered(question, condition in PROCESSED)
                elif condition in PROCESSED:
                    self._late.pop(question, bool)()
        self.wake()

    def _bounced(self, bounce: Bounce) -> None:
        message = bounce.message
        lane = self._lane(message.person)
        if bounce.condition in UNREACHABLE and lane != OWN_LANE:
            self.delivery.lane_failed(lane, self._agenda.now())
            return
        pair = message.person, message.number
        self._unstored.setdefault(message.person, []).append(pair)
        self.delivery.bounced(*pair, self._agenda.now())

    # What people ask for

    def post(self, author: int) -> None:
        """An author posts."""

        def committed(result: Result) -> None:
            assert isinstance(result, tuple)
            post, lanes = result
            assert isinstance(post, Post)
            self.delivery.post_committed(post, lanes)  # type: ignore[arg-type]
            self.wake()

        self._writer.submit(NewPost(author), committed)

    def follow(self, person: int, author: int) -> None:
        """A person follows an author; if it is his first, he is asked for his presence."""

        def committed(result: Result) -> None:
            assert isinstance(result, tuple)
            follow, standing = result
            assert isinstance(follow, Follow)
            self.graph.add_follow(follow)
            self.delivery.standing_made(standing, self._agenda.now())  # type: ignore[arg-type]
            self.delivery.set_catchup(person, self._plan.catchup)
            if self.delivery.grant_of(person) is Grant.NEVER:
                self.delivery.set_grant(person, Grant.ASKED, self._agenda.now())
                self._send(PresenceRequest(person))
            self.wake()

        self._writer.submit(NewFollow(person, author), committed)

    def unfollow(self, person: int, author: int) -> None:
        """A person follows an author no more."""

        def committed(_: Result) -> None:
            self.graph.end_follow(person, author)

        self._writer.submit(EndFollow(person, author), committed)

    def more(self, person: int, author: int | None) -> None:
        """A person fetches the newest of what his last return left."""
        rest = self.delivery.rest_of(person)
        if rest is None:
            return
        taken = dict(rest.taken)
        left = []
        for number in range(rest.first, rest.last + 1):
            post = self._disk.posts.get(number)
            if post is None or author not in (None, post.author) or not rest.holds(number):
                continue
            there = number < taken.get(post.author, rest.last + 1)
            if there and decide(self.graph, post, person).yes:
                left.append(number)
        numbers = left[-self._plan.more :]
        remain = len(left) - len(numbers)
        after: Rest | None = rest
        if author is not None and numbers:
            after = without(rest, author, numbers[0])
        elif author is None:
            after = replace(rest, last=numbers[0] - 1) if remain else None
        self._agenda.note(f"{person} asks for more: {numbers}")
        self._ledger.fetched(person, numbers)
        self.delivery.fetch(person, numbers, after, self._agenda.now())
        self.wake()

    def skip(self, person: int) -> None:
        """A person drops what his last return left."""
        if self.delivery.rest_of(person) is not None:
            self.delivery.drop_rest(person)
            self.wake()


def _brief(rows: DeliveryRows) -> str:
    standings = ", ".join(
        f"{s.person}: {'live' if s.away_from is None else f'away from {s.away_from}'}"
        + (f" lacks {list(s.missed)}" if s.missed else "")
        for s in rows.standings
    )
    cursors = ", ".join(
        f"#{c.number}@{c.lane or 'own'}={'done' if c.position is None else c.position}"
        for c in rows.cursors
    )
    return f"[{standings}] [{cursors}]"
