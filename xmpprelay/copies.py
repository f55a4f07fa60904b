"""Public feeds as files, for a web server or an object store that has them while the relay is down.

    @alice.atom    @alice.rss    @alice/with-replies.atom

All of them are written once after the start, a few at a time, and an author's again after what he
posts, at most once in ten seconds. A file is whole at every moment: it is written beside its place
and put there in one step. It is not synced, since it can always be made again. What is not public
any more is removed: who protects himself, takes his feeds off the web, changes his handle or
leaves has no files a moment later, nor after the next start if the relay was not there to do it.

Files do not tell of a standby: they are there to be read when nobody is left to take it back.

A folder that cannot be written to is logged once, and tried again each minute; the relay goes on.
Nothing but files of these names is ever touched in it.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from xmpprelay.core.graph import Graph
from xmpprelay.core.paced import Paced
from xmpprelay.errors import StoreError, TryLater
from xmpprelay.feeds import Feeds, Touched
from xmpprelay.log import get_logger
from xmpprelay.store.database import Database
from xmpprelay.store.feeds import boosters_of_author, boosters_of_post
from xmpprelay.streams import Streams
from xmpprelay.syndication import atom, rss

log = get_logger("feeds")

EVERY_S: Final = 10.0
"""An author's files are written at most once in so long."""

AGAIN_S: Final = 60.0
"""And so long is waited where they cannot be."""

_PORTION: Final = 500
"""Authors who are looked at in one turn of the loop."""

BREATH_S: Final = 0.05
"""Between two authors after the start: posts have the machine in the meantime."""

_OURS: Final = re.compile(r"@([a-z0-9_]{2,20})(?:\.atom|\.rss)?(?:\.new)?")
_WITH_REPLIES: Final = "with-replies.atom"
_BEGUN: Final = ".new"
"""Ends the name of a file until it is whole."""

_POST: Final = "post"
_AUTHOR: Final = "author"
_NAME: Final = "name"
"""What a question about boosters is about."""

Question = Callable[[Connection], list[int]]
"""Gives authors whose files are to be written."""


class Copies:
    """Keeps the files of one folder. `start` it once, then `stop` it."""

    def __init__(
        self,
        directory: Path,
        db: Database,
        graph: Graph,
        feeds: Feeds,
        streams: Streams,
        *,
        every_s: float = EVERY_S,
        again_s: float = AGAIN_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._db = db
        self._graph = graph
        self._feeds = feeds
        self._streams = streams
        self._again_s = again_s
        self._monotonic = monotonic
        self._paced: Paced[int] = Paced(every_s, 2**31)  # there are no more authors than that
        self._urgent: dict[int, None] = {}  # who is shown otherwise, or not at all
        self._questions: dict[tuple[str, int], Question] = {}
        self._first: list[int] = []  # who has not been written since the start
        self._written: dict[int, str] = {}  # author -> the handle in the names of his files
        self._asked = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._looks = 1  # how often all are to have been looked through by now
        self._looked = 0  # and were
        self._failing = False
        self.failures = 0  # what was not foreseen
        self.idle = asyncio.Event()  # set while nothing is left to do
        feeds.touched.append(self._touched)
        feeds.shown_otherwise.append(self._shown_otherwise)

    def start(self) -> None:
        """Begin to write."""
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write nothing more."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    # What is to be written

    def _touched(self, touched: Touched) -> None:
        self._paced.ask(touched.author, self._monotonic())
        if touched.edited is not None:
            number = touched.edited
            self._questions[_POST, number] = partial(boosters_of_post, number=number)
        if touched.renamed:
            self._questions[_NAME, touched.author] = partial(
                boosters_of_author, author=touched.author
            )
        self._ask()

    def _shown_otherwise(self, person: int) -> None:
        self._urgent[person] = None
        self._questions[_AUTHOR, person] = partial(boosters_of_author, author=person)
        self._ask()

    def _ask(self) -> None:
        self.idle.clear()
        self._asked.set()

    def look_again(self) -> None:
        """The operator has blocked others: see of all who is public now.

        Who has come meanwhile and posted nothing has no files until he does.
        """
        self._looks += 1
        self._ask()

    # The work

    async def _run(self) -> None:
        while True:
            try:
                if self._looked != self._looks:
                    await self._look()
                if not await self._step():
                    await self._wait()
            except (OSError, StoreError, TryLater) as error:
                self._has_failed(error)
                await asyncio.sleep(self._again_s)
            except Exception:  # the top of the loop: the next minute may be better
                self.failures += 1
                log.exception("feeds.failed")
                await asyncio.sleep(self._again_s)

    async def _look(self) -> None:
        """See who is public: what is of nobody is removed, what may be missing is written."""
        looks = self._looks
        public: dict[str, int] = {}
        for number, handle in enumerate(self._graph.handles()):
            person = self._graph.by_handle(handle)
            if person is not None and self._feeds.is_public(person.id):
                public[handle] = person.id
            if number % _PORTION == 0:
                await asyncio.sleep(0)
        await asyncio.to_thread(_tidy, self._directory, public.keys())
        before, self._written = self._written, {who: handle for handle, who in public.items()}
        left = {who: None for who in self._first if who in self._written}
        self._first = list(left | {who: None for who in self._written if who not in before})
        if before:  # others' boosts of them are shown again, or not any more
            for who in before.keys() ^ self._written.keys():
                self._questions[_AUTHOR, who] = partial(boosters_of_author, author=who)
        self._looked = looks

    async def _step(self) -> bool:
        """Do one thing; whether there was one to be done."""
        if self._urgent:
            await self._write(next(iter(self._urgent)))
        elif self._questions:
            await self._find_boosters()
        elif (author := self._paced.take(self._monotonic())) is not None:
            await self._write(author)
        elif self._first:
            await self._write(self._first[-1])
            self._first.pop()
            await asyncio.sleep(BREATH_S)
        else:
            return False
        return True

    async def _wait(self) -> None:
        """Until something is asked for, or due."""
        self._asked.clear()
        due_s = self._paced.next_s()
        if due_s is None:
            self.idle.set()
        wait_s = None if due_s is None else max(0.0, due_s - self._monotonic())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), wait_s)

    async def _find_boosters(self) -> None:
        """Boosts of what may be seen no more are as urgent as that; a new text is not."""
        name = next(iter(self._questions))
        question = self._questions.pop(name)
        try:
            boosters = await self._db.read(question)
        except StoreError:
            self._questions.setdefault(name, question)
            raise
        for booster in boosters:
            if name[0] == _AUTHOR:
                self._urgent[booster] = None
            else:
                self._paced.ask(booster, self._monotonic())

    async def _write(self, author: int) -> None:
        """Make the files of an author, or remove them. Raises OSError, TryLater."""
        handle, before = self._graph.person(author).handle, self._written.get(author)
        self._urgent.pop(author, None)
        try:
            public = handle is not None and self._feeds.is_public(author)
            if before is not None and (before != handle or not public):
                await asyncio.to_thread(_remove, self._directory, before)
                del self._written[author]
            if handle is not None and public:
                files = await self._files(author, handle)
                if author in self._urgent:
                    return  # something has changed meanwhile
                self._written[author] = handle  # from now on there may be some
                await asyncio.to_thread(_put, self._directory, files)
        except (OSError, StoreError, TryLater):
            self._urgent[author] = None
            raise
        except Exception:  # the top of one author's: the others' files are written all the same
            self.failures += 1
            log.exception("feeds.failed", person=author)
            await self._give_up(author)
            return
        if self._failing:
            self._failing = False
            log.info("feeds.written_again", directory=str(self._directory))

    async def _give_up(self, author: int) -> None:
        """Try his files again later; meanwhile there are none, since old ones may show too much."""
        self._paced.put_off(author, self._monotonic() + self._again_s)
        handle = self._written.pop(author, None)
        if handle is not None:
            await asyncio.to_thread(_remove, self._directory, handle)

    async def _files(self, author: int, handle: str) -> Mapping[str, bytes]:
        person = self._graph.person(author)
        feed = await self._streams.of_author(person)
        replies = await self._streams.of_author(person, replies=True)
        as_rss = await self._streams.of_author(person, "rss")
        return {
            f"@{handle}.atom": atom(feed),
            f"@{handle}.rss": rss(as_rss),
            f"@{handle}/{_WITH_REPLIES}": atom(replies),
        }

    def _has_failed(self, error: OSError | StoreError | TryLater) -> None:
        if self._failing:
            return
        self._failing = True
        directory = str(self._directory)
        if isinstance(error, OSError):
            log.warning(
                "feeds.not_written",
                directory=directory,
                why=os.strerror(error.errno or 0),
                advice="Let the relay's user write to feeds.directory; it is tried again.",
                again_in_s=self._again_s,
            )
        else:
            log.warning("feeds.not_read", why=error.sentence, again_in_s=self._again_s)


# --- Files, in a thread ---------------------------------------------------------------------------


def _put(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files, each in one step; one that is there as it is to be stays."""
    for name, body in files.items():
        place = directory / name
        with suppress(FileNotFoundError):
            if place.read_bytes() == body:
                continue
        _make(place.parent)
        begun = place.with_name(place.name + _BEGUN)
        begun.write_bytes(body)
        begun.chmod(0o644)
        begun.replace(place)


def _make(folder: Path) -> None:
    """Make a folder if it is missing. Everybody may read it, whatever the relay's own files are."""
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o755)


def _remove(directory: Path, handle: str) -> None:
    """Remove the files of a handle, begun ones as well."""
    for name in (f"@{handle}.atom", f"@{handle}.rss", f"@{handle}/{_WITH_REPLIES}"):
        for ending in ("", _BEGUN):
            (directory / (name + ending)).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        (directory / f"@{handle}").rmdir()


def _tidy(directory: Path, handles: Collection[str]) -> None:
    """Make the folder if it is missing; remove the files of all other handles."""
    _make(directory)
    found = {match[1] for name in os.listdir(directory) if (match := _OURS.fullmatch(name))}
    for handle in found - set(handles):
        _remove(directory, handle)
