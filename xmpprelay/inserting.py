"""Everything about the primary service, built of the configuration and held together.

Nothing here decides anything: the trickle inserts, linking says whose account is whose, and what
people are told is said by the relay's voice. Without a primary there is none of it, and everything
else is as it is with one.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import Connection

from xmpprelay.config import Config
from xmpprelay.config import Primary as Primaries
from xmpprelay.core.graph import Graph
from xmpprelay.core.insertion import Rules
from xmpprelay.core.model import Draft, Post
from xmpprelay.core.primary import Reach, Visibility
from xmpprelay.core.site import Site
from xmpprelay.core.status import fits
from xmpprelay.errors import XmppRelayError
from xmpprelay.linking import Broken, Linking
from xmpprelay.log import get_logger
from xmpprelay.people import People, Wire
from xmpprelay.primary.base import Primary
from xmpprelay.primary.http import Http, uncounted
from xmpprelay.primary.mastodon.driver import Mastodon
from xmpprelay.primary.names import primary_name, services_of
from xmpprelay.primary.pubsub import Ask, PubsubPrimary
from xmpprelay.primary.sql import SqlPrimary
from xmpprelay.primary.webhook import WebhookPrimary
from xmpprelay.relay import Relay
from xmpprelay.secretbox import SecretBox
from xmpprelay.store.database import Database
from xmpprelay.store.insertion import oldest_waiting
from xmpprelay.store.links import load_clients, load_links
from xmpprelay.store.moving import PrimaryRow, have_primary
from xmpprelay.trickle.accounts import Everybodys, Sort
from xmpprelay.trickle.announcing import Announcing, line_of
from xmpprelay.trickle.engine import Engine, Place
from xmpprelay.trickle.fetching import Fetching
from xmpprelay.trickle.standby import Situation, Standby
from xmpprelay.trickle.wishes import Wishes

log = get_logger("primary")

STATUS: Final = "status"
"""The handle of the account that announces how the primary is; it can be followed."""

BARRED_AGAIN_MINUTES: Final = 60
"""So often those accounts are tried again whose credentials did not hold."""

TRIES_EVERY_S: Final = 1.0
MOST_TRIED: Final = 3000
"""Logins that were refused, in an hour."""

TELLS_EVERY_S: Final = 0.02
"""Where a lost key breaks everybody's link, so many messages go at the start as probes do."""


class Teller(Wire, Protocol):
    """Who says things to people; see `xmpp/voice.py`."""

    def tell(self, jid: str, text: str) -> None:
        """Say something, without any limit."""


class Inserting:
    """The primary of one relay. `ask` is how a pubsub service is asked."""

    def __init__(
        self,
        config: Config,
        db: Database,
        graph: Graph,
        people: People,
        relay: Relay,
        voice: Teller,
        ask: Ask,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._config = config
        self._db = db
        self._graph = graph
        self._people = people
        self._relay = relay
        self._voice = voice
        self._now = now
        self._monotonic = monotonic
        self._domain = config.xmpp.domain
        self._login_http: Http | None = None
        primary = config.primary
        self.linking = self._linking(graph, monotonic) if primary.instances else None
        token = primary.token.reveal()
        self.accounts = Everybodys(
            graph,
            Sort.LINKED if self.linking else Sort.ONE if token else Sort.AUTHORS,
            epoch=db.epoch,
            domain=self._domain,
            links=self.linking,
            token=token,
        )
        self._services = services_of(primary)
        self.places: Mapping[str, Place] = {
            name: Place(
                Site(name, primary.per_second or None, random.Random().random, monotonic()),
                driver,
                self.accounts.of(0) if token else None,
                self._services[name],
            )
            for name, driver in drivers_of(primary, ask, self._asked).items()
        }
        self.fetching = Fetching()
        self.engine = Engine(
            db,
            self.places,
            self.accounts,
            _rules(config),
            now=now,
            monotonic=monotonic,
            fetch=self.fetching.fetch,
        )
        self.standby = Standby(db, self.places, now=now, monotonic=monotonic)
        self.engine.probe, self.engine.changed = self.standby.probe, self.standby.changed
        self.announcing = Announcing(self.standby.situations, self._say, now, monotonic)
        self.standby.announce = self.announcing.announce
        self.wishes = Wishes(
            db,
            graph,
            self.engine,
            voice.mention,
            people.first_time,
            now=now,
            monotonic=monotonic,
        )
        self._running: list[asyncio.Task[None]] = []
        self._saying: set[asyncio.Task[None]] = set()
        self._minutes = 0
        self.failures = 0  # of what was done in the background, by something unforeseen
        if self.places:
            relay.account_of = self._account_of
            relay.most = self._most
            relay.waits = self._waits
        if self.linking is not None:
            self.linking.changed.append(self._link_changed)

    def _linking(self, graph: Graph, monotonic: Callable[[], float]) -> Linking:
        primary = self._config.primary
        self._login_http = _http(primary, primary.instances)
        return Linking(
            self._db,
            graph,
            self._voice,
            SecretBox.open(self._config.store.key_path),
            self._login_http,
            sites=primary.instances,
            monotonic=monotonic,
        )

    def _asked(self, site: str) -> None:
        """A request to a primary leaves; it counts there, whatever it is for."""
        self.places[site].site.asks(self._monotonic())

    # What the relay asks when something is posted

    def _account_of(self, draft: Draft, author: int) -> int | None:
        return None if draft.relay_only else self.accounts.for_author(author)

    def _most(self, author: int) -> Visibility:
        """Who may see at most what an author posts now, whatever he opens later (S14.3)."""
        return Visibility.PRIVATE if self._graph.protected(author) else Visibility.PUBLIC

    def _waits(self, post: Post, account: int) -> str:
        """What the answer to a post says of its insertion (S14)."""
        site = self.accounts.site_of(account)
        place = self.places.get(site)
        if place is None:
            return ""
        notes = [self.announcing.note(site, max(0, place.site.total - 1))]
        caps, long = place.site.caps, self._config.primary.long
        if caps is not None and not fits(post.text, caps):
            ends = {"refuse": "it is not inserted there", "split": "it becomes several there"}
            notes.append(
                f"longer than the {caps.max_chars} characters of the primary: "
                f"{ends.get(long, 'it is cut there')}"
            )
        return "; ".join(note for note in notes if note)

    def _link_changed(self, person: int) -> None:
        self._in_background(self.engine.relinked(person))
        if self.accounts.of(person) is not None:
            for why in Broken:
                self._people.not_told(person, why)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    async def idle(self) -> None:
        """Return when nothing is done in the background."""
        while self._saying:
            await asyncio.wait(self._saying)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except XmppRelayError as error:  # the next start makes up for it
            log.warning("primary.not_done", error=error.sentence)
        except Exception:  # the top of the task: nobody waits for it, and a stop must not fail
            self.failures += 1
            log.exception("primary.task_failed")

    # What is told by itself

    async def _tell_broken(self, linking: Linking) -> None:
        """Tell those whose links do not work here, each once for as long as that is so."""
        for person, broken in linking.broken():
            for why in Broken:
                if why is not broken:
                    self._people.not_told(person, why)
            if broken is not None and self._people.first_time(person, broken):
                linking.tell_broken(person, broken)
                await asyncio.sleep(TELLS_EVERY_S)
            await asyncio.sleep(0)  # there may be many, and each takes a decryption

    async def _look_at_barred(self) -> None:
        """What is too old is parked before others have their turn."""
        try:
            self.wishes.parked(await self.engine.park_old())
        finally:
            self.engine.look_at_barred()
        if self.linking is not None:
            await self._try_refused(self.linking)

    async def _try_refused(self, linking: Linking) -> None:
        """Ask whether logins that were refused hold again: it may have been the service's fault.

        What is not asked before the next time, since there are too many, is asked then.
        """
        refused = linking.refused_ones()
        random.shuffle(refused)
        for person in refused[:MOST_TRIED]:
            account = linking.refused_account(person)
            place = None if account is None else self.places.get(account.site)
            if account is None or place is None or place.site.health.away:
                continue
            found = await place.driver.probe(account)
            if found.reach is Reach.UP and await linking.holds_again(account):
                log.info("links.hold_again", person=person, site=account.site)
            await asyncio.sleep(TRIES_EVERY_S)

    def _say(self, text: str, detail: str) -> None:
        """By status@relay to all who follow it, and to the operator's admins with the detail."""
        for admin in self._config.xmpp.admins:
            self._voice.tell(admin, f"{text} ({detail})" if detail else text)
        self._in_background(self._post(text))

    async def _post(self, text: str) -> None:
        draft = Draft(self._status_jid, text, "en", None, None, relay_only=True, forced=True)
        await self._relay.accept(draft)

    @property
    def _status_jid(self) -> str:
        return f"{STATUS}@{self._domain}"

    # What is asked

    async def situations(self) -> Sequence[Situation]:
        """How each primary is, with its oldest post. Raises StoreError."""
        oldest = await self._db.read(oldest_waiting)
        found = []
        for place in self.places.values():
            of_this = [at for account, at in oldest.items() if self._is_at(account, place)]
            found.append(self.standby.situation(place.site, min(of_this, default=None)))
        return found

    def _is_at(self, account: int, place: Place) -> bool:
        return self.accounts.site_of(account) == place.site.name

    def waiting(self) -> int:
        """How many rows are open for primaries, all together."""
        return sum(place.site.total for place in self.places.values())

    async def lines(self) -> list[str]:
        """The same, a line for people each. Raises StoreError."""
        return [line_of(each, self._now()) for each in await self.situations()]

    def form(self) -> Mapping[str, str]:
        """The same as fields of a form (XEP-0128); empty: there is no primary."""
        if not self.places:
            return {}
        situations = self.standby.situations()
        away = [each.since for each in situations if each.since is not None]
        values = {
            "primary": "standby" if away else "online",
            "waiting": str(sum(each.waiting for each in situations)),
        }
        if away:
            values["since"] = f"{min(away):%Y-%m-%dT%H:%M:%SZ}"
        return values

    # Its life

    def load(self, conn: Connection) -> None:
        """Take up what is stored of linked accounts."""
        if self.linking is not None:
            self.linking.load(load_links(conn), load_clients(conn))

    async def open(self) -> None:
        """Take up the queue, and what was under way. Raises StoreError."""
        if not self.places:
            return
        if self.linking is not None:
            await self.linking.seal_anew()
        await self._people.of_the_relay(self._status_jid, STATUS)
        await self._note_primary()
        await self.standby.load()
        self.announcing.take_up()
        await self.engine.load()

    async def _note_primary(self) -> None:
        """Another primary than at the last start is told to the operator."""
        primary = self._config.primary
        name = primary_name(primary)
        one = bool(primary.token.reveal())
        moved = await self._db.write(have_primary, PrimaryRow(name, self._services, one))
        if moved is not None:
            log.warning("primary.changed", to=name, **asdict(moved))

    def start(self) -> None:
        """Begin to insert."""
        loop = asyncio.get_running_loop()
        self._running = [
            loop.create_task(self.engine.run(place), name=f"trickle {place.site.name}")
            for place in self.places.values()
        ]
        if self.linking is not None:
            self._in_background(self._tell_broken(self.linking))

    def tick(self) -> None:
        """A minute has passed."""
        self._minutes += 1
        self.wishes.tick()
        self.announcing.tick()
        if self.linking is not None:
            self.linking.tick()
        if self._minutes % BARRED_AGAIN_MINUTES == 0:
            self._in_background(self._look_at_barred())

    def forget(self, person: int) -> None:
        """Somebody has left."""
        self.wishes.forget(person)
        if self.linking is not None:
            self.linking.forget(person)

    async def close(self) -> None:
        """End; what is under way is looked for at the next start."""
        for task in (*self._running, *self._saying):
            task.cancel()
        for task in (*self._running, *self._saying):
            with suppress(asyncio.CancelledError):
                await task
        await self.engine.close()
        if self.linking is not None:
            await self.linking.close()
        await self.fetching.aclose()
        for place in self.places.values():
            await place.driver.aclose()
        if self._login_http is not None:
            await self._login_http.aclose()


def drivers_of(
    primary: Primaries, ask: Ask, leaves: Callable[[str], None] = lambda _: None
) -> dict[str, Primary]:
    """What speaks to each primary of a configuration, by its name.

    That is an instance's address, or nothing where there is only one. `leaves` is called with the
    name at each HTTP request.
    """
    match primary.driver:
        case "sql":
            return {"": SqlPrimary(primary.url, primary.table)}
        case "pubsub":
            return {"": PubsubPrimary(ask, primary.service, primary.node)}
        case "webhook":
            ca_file = Path(primary.ca_file) if primary.ca_file else None
            secret, leaves_it = primary.secret.reveal(), partial(leaves, "")
            return {"": WebhookPrimary(primary.url, secret, ca_file=ca_file, leaves=leaves_it)}
        case "mastodon" if primary.instances:
            return {
                site: _mastodon(primary, site, partial(leaves, site)) for site in primary.instances
            }
        case "mastodon":
            return {"": _mastodon(primary, primary.url, partial(leaves, ""))}
    return {}


def _mastodon(primary: Primaries, site: str, leaves: Callable[[], None]) -> Mastodon:
    return Mastodon(_http(primary, [site], leaves), [site], read_back=primary.read_back)


def _http(primary: Primaries, sites: Sequence[str], leaves: Callable[[], None] = uncounted) -> Http:
    ca_file = Path(primary.ca_file) if primary.ca_file else None
    return Http(sites, ca_file=ca_file, leaves=leaves)


def _rules(config: Config) -> Rules:
    primary = config.primary
    return Rules(
        settle=timedelta(seconds=primary.settle_s),
        max_age=primary.max_age,
        reply_wait=primary.reply_wait,
        visibility=Visibility(primary.visibility),
        long=primary.long,
        unsure=primary.unsure,
        refused_parent=primary.refused_parent,
        time=primary.time,
    )
