"""Followers who are really logged in, in one light process of their own (`crowd.py`).

    async with Followers(where, logins) as followers:
        await followers.say(Step("<iq …>", until=rb"…"))    # each of them
        posts = await followers.expect(20)
        …                                                   # posts.text(0) and so on are sent
        await posts.all_there(within_s=60)

The times are those of `time.perf_counter`, one clock for all processes of a machine.
"""

import asyncio
import multiprocessing
import resource
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from xmpprelay.bench.advice import sentence
from xmpprelay.bench.crowd import Talk, Told, Who, live
from xmpprelay.bench.dialogues import REMOVE, Login, Step, Trouble, Where, login
from xmpprelay.bench.tally import Account, text_of
from xmpprelay.errors import StreamError, XmppRelayError

Progress = Callable[[int, int], None]
"""So many done, of so many."""

_OTHER_FILES: Final = 200
"""What a server has open besides the connections; a guess."""

_NAMED: Final = 3
"""Of many with whom the same is left."""


class Posts:
    """Some posts that all followers are to get, and when they came."""

    def __init__(self, run: int, count: int) -> None:
        self.count = count
        self._run = run
        self._arrivals: dict[int, tuple[float, float]] = {}  # post -> to the first, to the last
        self._more = asyncio.Event()
        self._gone: str | None = None  # somebody who cannot get them any more

    def text(self, number: int) -> str:
        """The text of one, with its mark in it."""
        return text_of(self._run, number)

    def arrived(self, number: int, first: float, last: float) -> None:
        """Everybody has had one."""
        self._arrivals[number] = first, last
        self._more.set()

    def is_gone(self, who: str) -> None:
        """Somebody's connection is lost: he will not have them."""
        self._gone = who
        self._more.set()

    async def there(self, number: int, within_s: float) -> tuple[float, float]:
        """When the first and when the last follower had one; TimeoutError.

        StreamError as soon as somebody has lost his connection.
        """
        async with asyncio.timeout(within_s):
            while number not in self._arrivals:
                if self._gone is not None:
                    raise StreamError(
                        f"The server closed the connection of {self._gone}: its log says why."
                    )
                self._more.clear()
                await self._more.wait()
        return self._arrivals[number]

    async def all_there(self, within_s: float) -> float:
        """When everybody had had all of them; TimeoutError."""
        async with asyncio.timeout(within_s):
            return max([(await self.there(n, within_s))[1] for n in range(self.count)])


class Followers:
    """People of a server with their clients.

    `server` is its kind (`advice.py`), None if that is not known. `makes`: they make their accounts
    themselves, and remove them at the end. As a context manager they are logged in; StreamError
    when they cannot, with the setting of the server that is in the way.
    """

    def __init__(
        self,
        where: Where,
        logins: Sequence[Login],
        *,
        server: str | None = None,
        makes: bool = False,
        tell: Progress = lambda done, of: None,
    ) -> None:
        self.jids = [each.jid for each in logins]
        self.server = server
        self.left: list[str] = []  # of what was to be undone: what could not be
        self.tell = tell
        self._where = where
        self._makes = makes
        context = multiprocessing.get_context("spawn")  # this process has a loop that runs
        self._pipe, self._theirs = context.Pipe()
        self._process = context.Process(
            target=live, args=(self._theirs, where, list(logins)), daemon=True
        )
        self._posts: list[Posts] = []
        self._gone: list[str] = []  # who have lost their connection
        self._answer: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        """They are there."""
        self._process.start()
        self._theirs.close()  # else the end of the process would not be seen
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._hear)
        try:
            await self.say(*login(self._where.tls, makes=self._makes))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._makes and self._process.is_alive():
                await self._remove()
        finally:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._pipe.close()
            self._process.kill()
            await asyncio.to_thread(self._process.join)

    async def _remove(self) -> None:
        """Remove the accounts that were made."""
        refused = await self._undo(REMOVE)
        # Of a login that was cut short nobody knows how far it came: whether there is an account.
        others = Talk((*login(self._where.tls), REMOVE), Who.MADE, goes_on=True)
        cannot: Sequence[Told] = await self._ask("say", others)
        kept = [told.who for told in refused if told.trouble is not Trouble.CLOSED]
        kept += [told.who for told in cannot if told.trouble is not Trouble.PASSWORD]
        self._leaves("the account", kept)

    @property
    def pid(self) -> int:
        """Of their process."""
        assert self._process.pid is not None  # noqa: S101
        return self._process.pid

    async def say(self, *steps: Step) -> None:
        """Let each of them have a dialogue, some at a time; StreamError with the first trouble."""
        troubles = await self._ask("say", Talk(steps))
        if troubles:
            first = troubles[0]
            raise StreamError(sentence(self.server, first.who, first.trouble, first.said))

    async def undoes(self, step: Step, what: str) -> None:
        """Let each who is there go through a step that removes something.

        Where that cannot be done, `what` is left.
        """
        troubles = await self._undo(step)
        self._leaves(what, [*self._gone, *(told.who for told in troubles)])

    def _leaves(self, what: str, whose: Sequence[str]) -> None:
        names = [*dict.fromkeys(whose)]
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            self.left.append(f"{what} of {', '.join(names[:_NAMED])}{more}")

    async def _undo(self, step: Step) -> Sequence[Told]:
        if not self._process.is_alive():
            return ()
        troubles: Sequence[Told] = await self._ask("say", Talk((step,), Who.THERE, goes_on=True))
        return troubles

    async def expect(self, count: int) -> Posts:
        """So many posts are to come to each of them."""
        posts = Posts(len(self._posts), count)
        self._posts.append(posts)
        if self._gone:
            posts.is_gone(self._gone[0])
        await self._ask("expect", count)
        return posts

    async def account(self) -> Account:
        """What became of all posts up to now."""
        account: Account = await self._ask("account")
        return account

    async def _ask(self, what: str, argument: object = None) -> Any:
        """Have something done; a cancellation ends it, and they can be asked for other things."""
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._pipe.send((what, argument))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            self._pipe.send(("enough", None))
            await asyncio.wait({answer})
            raise

    def _hear(self) -> None:
        assert self._answer is not None  # noqa: S101
        try:
            kind, *said = self._pipe.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            if not self._answer.done():
                self._answer.set_exception(StreamError("The process of the followers has ended."))
            return
        if kind == "post":
            run, number, first, last = said
            self._posts[run].arrived(number, first, last)
        elif kind == "gone":
            self._gone += said
            for posts in self._posts[-1:]:
                posts.is_gone(*said)
        elif kind == "so far":
            self.tell(*said)
        elif not self._answer.done():
            self._answer.set_result(*said)


def allow_connections(count: int) -> None:
    """Let this process, and those that it starts, have so many connections.

    XmppRelayError with the command that allows it.
    """
    wanted = count + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard) or wanted <= soft:
        return
    if wanted > hard:
        raise XmppRelayError(
            f"{count} followers need {wanted} open files in one process, and this shell allows "
            f"{hard}: type `sudo prlimit --pid $$ --nofile={wanted}:{wanted}`, and start anew."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
