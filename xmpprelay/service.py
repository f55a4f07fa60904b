"""Builds every object of a running relay, starts them in order and stops them; nothing else does.

Start: the database first (lock, check, migration), in it the one transaction that lets nobody be
live; then people, follows and standings into memory; then the stream. The readiness that a service
manager is told of is the stream's.

Stop, on SIGTERM or SIGINT, within five seconds: what has come in is finished, windows under way
are confirmed if the server is quick, everybody's standing is stored, the stream and the database
are closed.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from xmpprelay.account import Account
from xmpprelay.activity import Activity
from xmpprelay.approval import Approval
from xmpprelay.choices import Choices
from xmpprelay.commands.calls import Rooms
from xmpprelay.commands.run import Commands
from xmpprelay.config import Config
from xmpprelay.control import ControlServer
from xmpprelay.copies import Copies
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import DeliveryRows, Post
from xmpprelay.core.newcomers import DomainLimits
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.places import Places
from xmpprelay.core.profile import Profile
from xmpprelay.core.recent import RECENT
from xmpprelay.digests import Digests
from xmpprelay.directory import Directory
from xmpprelay.feeds import Feeds
from xmpprelay.hub import Hub
from xmpprelay.inserting import Inserting
from xmpprelay.items import Items
from xmpprelay.journal import Journal
from xmpprelay.keeping_out import KeepingOut
from xmpprelay.less import Less
from xmpprelay.log import get_logger
from xmpprelay.metrics import Metrics
from xmpprelay.operating import Operating
from xmpprelay.overview import Looking
from xmpprelay.people import People
from xmpprelay.pictures import Pictures
from xmpprelay.profiles import Profiles
from xmpprelay.reading import Reading
from xmpprelay.relay import PostLimits, Relay
from xmpprelay.reporting import Reporting
from xmpprelay.retention import Retention
from xmpprelay.sources import Sources
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.keeping_out import load_blocks, load_mutes
from xmpprelay.store.operations import StartRow, start, store_delivery
from xmpprelay.streams import Streams
from xmpprelay.volume import Volume
from xmpprelay.web.feeds import FeedPages
from xmpprelay.web.health import Health
from xmpprelay.web.metrics import MetricsPage, of_the_pages
from xmpprelay.web.pages import Pages, Place
from xmpprelay.web.server import WebServer
from xmpprelay.web.status import StatusPages
from xmpprelay.web.turns import Turns
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.adhoc import AdHoc
from xmpprelay.xmpp.answering import Answering
from xmpprelay.xmpp.appearance import Appearance
from xmpprelay.xmpp.caps import Shown
from xmpprelay.xmpp.clocks import Clocks
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.disco import Discovery, Questions
from xmpprelay.xmpp.finding import Finding
from xmpprelay.xmpp.intake import Intake
from xmpprelay.xmpp.interests import Interests
from xmpprelay.xmpp.messages import Messages
from xmpprelay.xmpp.multicast import Multicast
from xmpprelay.xmpp.outbox import Outbox
from xmpprelay.xmpp.own_cards import OwnCards
from xmpprelay.xmpp.own_nodes import OwnNodes
from xmpprelay.xmpp.peers import Peers
from xmpprelay.xmpp.presences import Presences
from xmpprelay.xmpp.profiles import Profiles as ProfileDoor
from xmpprelay.xmpp.pubsub.following import Following
from xmpprelay.xmpp.pubsub.nodes import Nodes
from xmpprelay.xmpp.pubsub.owning import Owning
from xmpprelay.xmpp.pubsub.publishing import PublishingItems
from xmpprelay.xmpp.pubsub.reading import ReadingItems
from xmpprelay.xmpp.pubsub.service import Pubsub
from xmpprelay.xmpp.registration import Registration
from xmpprelay.xmpp.rendering import Rendering
from xmpprelay.xmpp.voice import Voice

log = get_logger("service")

PATIENCE_S: Final = 15.0
"""How long the first connection is tried for: a server that boots beside us is there by then."""

DRAIN_S: Final = 2.0
"""What a stop waits for intake, windows and rows, each."""

DRAIN_ALL_S: Final = 3.5
"""And for all of them together; with the end of the stream, five seconds at most."""

TICK_S: Final = 60.0
DAY_S: Final = 86_400.0


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


class Service:
    """One relay. `open` loads everything, `start` connects, `stop` ends it.

    `now` is the clock that times are stored and compared by, `monotonic` the one that spans are
    measured with.
    """

    def __init__(
        self,
        config: Config,
        db: Database,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.db = db
        self._now = now
        self._monotonic = monotonic
        xmpp, limits = config.xmpp, config.limits
        self.graph = Graph(xmpp.local_domains)
        self.delivery = Delivery(self.graph)
        self.addresses = Addresses(xmpp.domain, xmpp.home, self.graph)
        self.component = Component(
            xmpp.domain, xmpp.secret.reveal(), xmpp.host, xmpp.port, xmpp.local_domains[0]
        )
        self.voice = Voice(self.component, self.addresses, self.graph, monotonic)
        self.interests = Interests(self.component, self.addresses.home, self.graph)
        self.journal = Journal(db, self.graph, self.delivery, self._wake, now)
        self.rendering = Rendering(
            self.graph, self.addresses, db.epoch, self._sent, self.delivery.post
        )
        self.rendering.devices = partial(self.interests.devices, node=MICROBLOG)
        self.rendering.interested = self.interests.people
        self.multicast = Multicast(self.component, self.addresses.home, wanted=xmpp.multicast)
        self.outbox = Outbox(
            self.delivery,
            self.graph,
            self.component,
            self.addresses,
            self.rendering,
            self.multicast,
            store=self._store,
            held=self.journal.held,
            now=now,
        )
        self.choices = Choices(db, self.graph)
        self.people = People(
            db,
            self.graph,
            self.delivery,
            self.journal,
            self.voice,
            wake=self._wake,
            now=now,
            monotonic=monotonic,
            open_to_all=config.registration.policy != "closed",
            reserved=(*config.registration.reserved, xmpp.home),
            max_follows=limits.follows,
            of_a_domain=DomainLimits(
                limits.domain_joins_per_hour,
                limits.domain_follows_per_minute,
                limits.domain_people,
            ),
        )
        self.addresses.renamed = self.people.renamed
        self.outbox.tells(self.voice, self.people.first_time)
        pace = PostLimits(
            limits.posts_per_second,
            limits.burst,
            limits.posts_per_hour,
            limits.max_chars,
            limits.deliveries_per_minute,
        )
        self.relay = Relay(
            db,
            self.graph,
            self.delivery,
            self.journal,
            pace,
            domain=xmpp.domain,
            home=self.addresses.home,
            first_time=self.people.first_time,
            mention=self.voice.mention,
            now=now,
            monotonic=monotonic,
        )
        self.approval = Approval(
            db, self.graph, self.people, self.voice, now=now, monotonic=monotonic
        )
        self.keeping_out = KeepingOut(
            db,
            self.graph,
            self.people,
            self.choices,
            domain=xmpp.domain,
            now=now,
        )
        self.outbox.refused = self.keeping_out.refused
        self._seeing_less(monotonic)
        self.reading = Reading(db, self.graph, self.delivery, self.people, now)
        self.items = Items(db, self.graph)
        self.account = Account(
            db,
            self.graph,
            self.delivery,
            self.people,
            self.choices,
            self.relay,
            policy=config.registration.policy,
            reserved=(*config.registration.reserved, xmpp.home),
            now=now,
            monotonic=monotonic,
        )
        self._showing(monotonic)
        self.inserting = Inserting(
            config,
            db,
            self.graph,
            self.people,
            self.relay,
            self.voice,
            self.component.asks,
            now=now,
            monotonic=monotonic,
        )
        self._feeding(monotonic)
        self.journal.queued = self.account.queued = self.inserting.engine.queued
        self.activity = Activity(
            db,
            self.delivery,
            tier=self.volume.tier,
            backlog=self.inserting.waiting,
            now=now,
        )
        self.looking = Looking(
            db,
            self.volume,
            self.inserting.situations,
            connected=lambda: self.component.up,
            now=now,
        )
        self.journal.counts, self.people.came = self.activity.posted, self.activity.came
        self.inserting.announcing.changed = self._home_looks_otherwise
        self.voice.state = self.inserting.announcing.presence
        self.account.forget += [
            self.approval.forget,
            self.relay.likes.forget,
            self.clocks.forget,
            self.inserting.forget,
            self.profiles.forget,
            self.own_cards.forget,
            self.appearance.forget,
            self.feeds.forget,
        ]
        self.intake = Intake(self.voice.is_stranger)
        self._own_microblogs(monotonic)
        self.operating = Operating(
            db,
            self.people,
            self.approval,
            self.keeping_out,
            self.volume,
            self.inserting,
            self.looking,
            self.activity,
            now,
        )
        self._doors()
        self.web = self._web() if config.web.listen else None
        self.control = ControlServer(config.store.socket, self.operating.handlers())
        self._running: asyncio.Task[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None  # a new presence is being shown
        self._minutes = 0
        self._failures = 0  # of ticks

    def _seeing_less(self, monotonic: Callable[[], float]) -> None:
        limits = self.config.limits
        self.volume = Volume(
            self.db,
            self.delivery,
            self.choices,
            busy_s=limits.load_busy_s,
            peak_s=limits.load_peak_s,
            now=self._now,
            monotonic=monotonic,
        )
        self.relay.live_per_hour = self.volume.live_per_hour
        self.digests = Digests(
            self.db,
            self.graph,
            self.delivery,
            self.journal,
            self.voice.tell,
            wake=self._wake,
            now=self._now,
            has_room=lambda: self.component.up and not self.component.paused,
            rounds=self.volume.rounds,
        )
        self.voice.summed_up = self._summed_up
        self.less = Less(
            self.db,
            self.graph,
            self.delivery,
            self.choices,
            self.digests,
            wake=self._wake,
            now=self._now,
        )
        self.clocks = Clocks(
            self.component,
            self.addresses.home,
            self.graph,
            self.delivery,
            self.choices,
            self._now,
        )
        self.less.learn_zone = self.clocks.learn

    def _own_microblogs(self, monotonic: Callable[[], float]) -> None:
        """What authors publish at their own addresses."""
        self.sources = Sources(
            self.db,
            self.graph,
            self.delivery,
            self.relay,
            domain=self.config.xmpp.domain,
            home=self.addresses.home,
            queue=self.intake.put,
            ask_presence=self.people.ask_again,
            mention=self.voice.mention,
            now=self._now,
        )
        self.own_nodes = OwnNodes(
            self.component,
            self.addresses.home,
            self.graph,
            self.sources,
            self.delivery.devices_of,
            self.voice.here,
            monotonic,
        )
        self.account.forget.append(self.sources.forget)

    def _showing(self, monotonic: Callable[[], float]) -> None:
        """What authors show of themselves, and to whom."""
        self.pictures = Pictures()
        self.profiles = Profiles(self.db, self.pictures, monotonic)
        self.directory = Directory(self.graph, self.profiles, self.config.xmpp.domain, monotonic)
        self.own_cards = OwnCards(self.component, self.graph, self.profiles, monotonic)
        self.appearance = Appearance(
            self.component,
            self.addresses,
            self.graph,
            self.delivery,
            self.voice,
            self.interests,
            self.profiles,
            monotonic,
        )
        self.account.joined = self.profiles.look = self.own_cards.look
        self.profiles.changed = self._looks_otherwise
        self.voice.photo = self.appearance.photo

    def _looks_otherwise(self, person: int, before: Profile, now: Profile) -> None:
        self.appearance.changed(person, before, now)
        if before.name != now.name:  # no feed shows more of somebody than that
            self.feeds.renamed(person)

    def _feeding(self, monotonic: Callable[[], float]) -> None:
        """Who has feeds, what is in them, and where they are besides the pages."""
        config, domain = self.config, self.config.xmpp.domain
        self.feeds = Feeds(
            self.db,
            self.graph,
            self.choices,
            Places(config.web.base_url),
            domain=domain,
            served=bool(config.web.listen),
            note=self._standby_note,
        )
        self.streams = Streams(
            self.db,
            self.graph,
            self.items,
            self.profiles,
            self.feeds,
            domain=domain,
            hub=config.feeds.hub,
        )
        self.turns = Turns()
        self.feed_pages = FeedPages(
            self.graph,
            self.people,
            self.feeds,
            self.streams,
            self.turns,
            now=self._now,
            monotonic=monotonic,
        )
        self.hub = Hub(config.feeds.hub, self.graph, self.feeds) if config.feeds.hub else None
        self.copies: Copies | None = None
        if config.feeds.directory:
            self.copies = Copies(
                Path(config.feeds.directory), self.db, self.graph, self.feeds, self.streams
            )
            self.keeping_out.hidden = self.copies.look_again
        self.retention = Retention(
            self.db,
            self.delivery,
            config.retention.posts,
            config.retention.waiting,
            changed=self.feeds.changed,
            now=self._now,
        )
        self.journal.feeds = self.feeds.posted
        self.account.renamed = self.approval.shown_otherwise = self.feeds.changed
        self.digests.feed = self.feeds.address_of

    def _standby_note(self) -> str:
        """What feeds say while a primary is away: the same words all the time."""
        since = self.inserting.announcing.away_since()
        if since is None:
            return ""
        at = f"{since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return f"The service behind this relay is on standby since {at}. Posts go on here, live."

    def _summed_up(self, person: int, counts: Mapping[int, int]) -> bool:
        if not self.people.wants_digest(person):
            return False
        self.digests.returned(person, counts)
        return True

    def _doors(self) -> None:
        rooms = Rooms(
            graph=self.graph,
            people=self.people,
            choices=self.choices,
            reading=self.reading,
            account=self.account,
            keeping_out=self.keeping_out,
            approval=self.approval,
            less=self.less,
            volume=self.volume,
            profiles=self.profiles,
            directory=self.directory,
            feeds=self.feeds,
            relay=self.relay,
            reporting=Reporting(
                self.db,
                self.graph,
                self.voice.tell,
                self.config.xmpp.admins,
                self._monotonic,
            ),
            domain=self.config.xmpp.domain,
            now=self._now,
            linking=self.inserting.linking,
            inserting=self.inserting,
            sources=self.sources,
        )
        commands = Commands(rooms)
        every_day: dict[str, Any] = {"queue": self.intake.put, "wake": self._wake, "now": self._now}
        messages = Messages(
            self.component,
            self.addresses,
            self.graph,
            self.delivery,
            self.relay,
            commands,
            self.account,
            self.keeping_out,
            self.voice,
            Peers(self.component, self._monotonic),
            epoch=self.db.epoch,
            **every_day,
        )
        self.presences = Presences(
            self.addresses,
            self.graph,
            self.delivery,
            self.people,
            self.voice,
            self.outbox.barrier,
            self.keeping_out,
            self.interests,
            self.own_cards,
            **every_day,
        )
        questions = Questions(self.component, self.addresses, self.voice.hears)
        contact = self.config.contact
        contacts = {name: getattr(contact, name) for name in contact.__dataclass_fields__}
        name = f"xmpprelay on {self.config.xmpp.domain}"
        discovery = Discovery(questions, self.addresses, name, contacts)
        discovery.status = self.inserting.form
        if self.config.web.listen:
            discovery.status_pages = [Places(self.config.web.base_url).status_data]
        discovery.nodes = AdHoc(
            questions,
            rooms,
            commands,
            self.intake.put,
            self.config.xmpp.admins,
            self.operating.admin_commands(),
        )
        answering = Answering(questions, self.keeping_out, self.intake.put)
        self.profile_door = ProfileDoor(questions, name, self.profiles, self.addresses, answering)
        self.account.forget.append(self.profile_door.forget)
        discovery.people = Finding(
            questions, self.addresses, self.directory, self.profiles, answering, name
        ).people
        discovery.pubsub = self._pubsub(questions, answering)
        Registration(questions, self.graph, self.account, self.keeping_out, self.intake.put)
        self.component.precedence.is_stranger = self.voice.is_stranger
        messages.take_event = self.own_nodes.take
        self.presences.came, self.presences.left = self.own_nodes.present, self.own_nodes.gone
        self.presences.granted = self.own_nodes.granted
        self.own_nodes.shown = Shown(discovery, [MICROBLOG])
        self.voice.shows_interest = self.own_nodes.shows_interest
        self.component.take_message = messages.take
        self.component.take_presence = self.presences.take
        self.component.take_iq = questions.take
        self.component.came_up = self._came_up
        self.component.went_down = self._went_down
        self.component.has_room = self._wake

    def _came_up(self) -> None:
        self.outbox.stream_up()
        self.own_nodes.stream_up()

    def _went_down(self) -> None:
        self.outbox.stream_lost()
        self.interests.lost()
        self.own_nodes.stream_lost()

    def _pubsub(self, questions: Questions, answering: Answering) -> Pubsub:
        nodes = Nodes(self.graph, self.addresses, self.items)
        return Pubsub(
            questions,
            nodes,
            ReadingItems(nodes, self.items, self.rendering.entries, self.profile_door),
            PublishingItems(
                nodes,
                self.relay,
                self.addresses,
                self.rendering.entries,
                self.profile_door,
                self.voice.mention,
            ),
            Following(nodes, self.graph, self.people, self.approval),
            Owning(nodes, self.graph, self.approval, self.keeping_out),
            answering,
        )

    def _web(self) -> WebServer:
        config = self.config
        contacts = (*config.contact.admin, *config.contact.support, *config.contact.abuse)
        place = Place(
            config.xmpp.domain,
            self.addresses.home,
            config.registration.policy,
            tuple(dict.fromkeys(contacts)),
            mirrored=config.primary.driver != "none",
        )
        pages = Pages(
            self.graph,
            self.items,
            self.people,
            self.profiles,
            self.feeds,
            self.turns,
            place,
            note=self._note,
            now=self._now,
        )
        status = StatusPages(self.looking, self.activity, pages.templates, self._monotonic)
        health = Health(self.db, lambda: self.component.up)
        metrics = self._metrics()
        figures = MetricsPage(metrics)
        for_people = (*self.feed_pages.routes(), *pages.routes(), *status.routes())
        server = WebServer(config.web, [*for_people, *health.routes(), *figures.routes()])
        server.error_page = pages.error_page
        metrics.further.append(partial(of_the_pages, server.answers, server.door))
        return server

    def _metrics(self) -> Metrics:
        return Metrics(
            self.component,
            self.delivery,
            self.journal,
            self.db,
            self.volume,
            self.inserting,
            not_taken=lambda: self.intake.not_taken,
            failures=self.failures,
            now=self._now,
            monotonic=self._monotonic,
        )

    def failures(self) -> dict[str, int]:
        """How often something unforeseen has happened since the start, by room; all is logged."""
        return {
            "stream": self.component.failures,
            "intake": self.intake.failures,
            "primary": self.inserting.failures + self.inserting.engine.failures,
            "sources": self.sources.failures,
            "profiles": self.appearance.failures + self.own_cards.failures,
            "feeds": sum(each.failures for each in (self.hub, self.copies) if each is not None),
            "activity": self.activity.failures,
            "minute": self._failures + self.digests.failures + self.volume.failures,
            "retention": self.retention.failures,
        }

    def _note(self) -> str:
        """What is said on each page while a primary is away."""
        _, state = self.inserting.announcing.presence()
        if state is None:
            return ""
        return f"The service behind this relay is on {state}. Posts go on here, live."

    def _wake(self) -> None:
        self.outbox.wake()

    def _home_looks_otherwise(self) -> None:
        """Whoever is there sees the new presence of home@relay (S14)."""
        people = [self.graph.person(person).jid for person in self.delivery.online()]
        self._looking = asyncio.get_running_loop().create_task(self.voice.shows(people))

    def _sent(self, person: int, number: int) -> Post | None:
        return self.relay.sight.sent(person, number)

    async def _store(self, rows: DeliveryRows) -> None:
        await self.db.write(store_delivery, rows)

    # Start

    @classmethod
    async def open(
        cls,
        config: Config,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> "Service":
        """A relay with all that is stored in memory, not yet connected. Raises StoreError."""
        db = await Database.open(config.store.url, now=now, monotonic=monotonic)
        try:
            service = cls(config, db, now, monotonic)
            await service._load()
        except BaseException:
            await db.close()
            raise
        return service

    async def _load(self) -> None:
        began = time.monotonic()
        await self.db.write(start, StartRow(self.graph.lane_of_jid))
        gc.disable()  # none of it is garbage, and to look for some takes a third of the time
        try:
            await self.db.read(self._read_all)
        finally:
            gc.enable()
        await self.inserting.open()
        log.info(
            "store.loaded",
            next_number=self.db.next_number,
            epoch=self.db.epoch,
            seconds=round(time.monotonic() - began, 3),
        )

    def _read_all(self, conn: Connection) -> None:
        for person in queries.load_people(conn):
            self.graph.add_person(person)
        self.graph.load_follows(queries.load_follows(conn))
        self.delivery.load(
            queries.load_standings(conn),
            queries.recent_posts(conn, RECENT),
            self.db.next_number,
        )
        settings = list(queries.load_settings(conn))
        self.people.load_settings(settings)
        self.choices.load(settings)
        self.approval.load(settings)
        self.keeping_out.load(load_blocks(conn), load_mutes(conn), settings)
        self.account.load(queries.load_handles(conn))
        self.profiles.load(conn)
        self.less.load(conn)
        self.sources.load(settings)
        self.feeds.load(conn, settings)
        self.inserting.load(conn)
        self.volume.load(conn)

    async def start(self) -> "asyncio.Task[None]":
        """Connect; the task that keeps the connection, and ends with `stop`.

        Raises StreamError with what to do when the server is not there or refuses.
        """
        await self.component.open(PATIENCE_S)
        loop = asyncio.get_running_loop()
        self._running = loop.create_task(self.component.run())
        self._ticking = loop.create_task(self._tick())
        self.volume.start()
        self.retention.start()
        self.inserting.start()
        await self.control.start()
        if self.web is not None:
            await self.web.start()
        for outlet in (self.hub, self.copies):
            if outlet is not None:
                outlet.start()
        return self._running

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.tick()
            except Exception:  # the top of the loop: the next minute may be better
                self._failures += 1
                log.exception("tick.failed")

    def tick(self) -> None:
        """A minute has passed."""
        self._minutes += 1
        self.delivery.tick(self._now())
        self.people.tick()
        self.relay.tick()
        self.approval.tick()
        self.keeping_out.tick()
        self.account.tick()
        self.appearance.tick()
        self.inserting.tick()
        self.sources.tick()
        self.own_nodes.minute()
        self.less.minute()
        self.volume.minute()
        self.activity.minute()
        self.digests.minute()
        self.clocks.minute(self.digests.daily())
        if self._minutes % int(DAY_S / TICK_S) == 0:
            self.delivery.probe_waiting(self._now())
        self._wake()

    # Stop

    async def stop(self) -> None:
        """Finish what is under way, and close everything; safe to call once, at any time."""
        self.component.take_message = _closed
        self.component.take_presence = self.presences.take_availability
        for task in (self._ticking, self._running):
            if task is not None:
                task.cancel()
        await self.control.stop()
        if self.web is not None:
            await self.web.stop()
        for outlet in (self.hub, self.copies):
            if outlet is not None:
                await outlet.stop()
        await self.feed_pages.close()
        await self.inserting.close()
        await self.volume.close()
        await self.retention.close()
        await self.digests.close()
        await self.clocks.close()
        await self.own_nodes.close()
        await self.own_cards.close()
        await self.appearance.close()
        ends_at = time.monotonic() + DRAIN_ALL_S
        await _wait(self.intake.drained(), ends_at)
        self.relay.likes.flush()
        self.keeping_out.flush()
        await _wait(self.outbox.landed(), ends_at)
        self.outbox.stream_lost()
        await self.component.close()
        await _wait(self.outbox.close(), ends_at)
        await _wait(self.activity.close(), ends_at)
        self.pictures.close()
        await self.db.close()


async def _wait(step: Coroutine[Any, Any, None], ends_at: float) -> None:
    left_s = max(0.1, ends_at - time.monotonic())
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(step, min(DRAIN_S, left_s))


def _closed(_: object) -> None:
    """What comes in while the relay stops is not taken; without a receipt it is sent again."""
