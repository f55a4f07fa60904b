"""People who go away and return, in a process of their own: what each lacked, and when he had it.

    async with Returning(where, logins) as people:
        await people.say(AWAY)
        await people.lack(20)                      # ~run.number~ with people.text(0) and so on
        …                                          # these are posted
        back = await people.return_(within_s=60)   # all at once

The followers of `xmpprelay bench` know when a post has come to everybody; these know when somebody
has had everything, and in what order. Their connections stay: who is away has told his server that
he is unavailable, who returns tells it that he is there.
"""

import asyncio
import contextlib
import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final, Self

from xmpprelay.bench.dialogues import (
    Failed,
    Login,
    Step,
    Tls,
    Where,
    answers,
    heard,
    login,
    said,
)
from xmpprelay.bench.tally import Account, Run, account_of, marks_in, text_of
from xmpprelay.errors import StreamError

AT_ONCE: Final = 100
"""In a dialogue at a time, but for the return: a server has a backlog for connections."""

LOGS_IN_WITHIN_S: Final = 120.0

_FENCE: Final = "<iq type='get' id='fence' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
AWAY: Final = Step(f"<presence type='unavailable'/>{_FENCE}", until=rb"id=['\"]fence['\"]")
RETURN: Final = Step("<presence/>", until=rb"<presence")  # that the server sends to himself too


@dataclass(slots=True)
class Lack(Run):
    """Who has had which of the posts that all lack, in what order, and when somebody had all."""

    ended: list[float] = field(default_factory=list)  # ascending
    all_ended: asyncio.Event = field(default_factory=asyncio.Event)
    disordered: int = 0  # that came behind a later one
    had: list[int] = field(init=False)  # by follower: how many
    highest: list[int] = field(init=False)  # by follower

    def __post_init__(self) -> None:
        Run.__post_init__(self)
        self.had, self.highest = [0] * self.followers, [-1] * self.followers

    def came(self, follower: int, post: int, now: float) -> bool:
        """One has come to somebody; whether he was the last who had not had it."""
        if not self.seen[follower * self.posts + post]:
            self.disordered += post < self.highest[follower]
            self.highest[follower] = max(post, self.highest[follower])
            self.had[follower] += 1
            if self.had[follower] == self.posts:
                self.ended.append(now)
                if len(self.ended) == self.followers:
                    self.all_ended.set()
        return Run.came(self, follower, post, now)


@dataclass(frozen=True, slots=True)
class Back:
    """A return of all of them."""

    began: float  # by `time.perf_counter`
    there: float  # when the server had taken the last of their presences
    ended: tuple[float, ...]  # when one after the other had all that he lacked
    disordered: int


class Returning:
    """Some people of a server; as a context manager they are logged in. StreamError."""

    def __init__(self, where: Where, logins: Sequence[Login]) -> None:
        self.jids = [each.jid for each in logins]
        context = multiprocessing.get_context("spawn")  # this process has a loop that runs
        self._pipe, self._theirs = context.Pipe()
        self._process = context.Process(
            target=live, args=(self._theirs, where, list(logins)), daemon=True
        )
        self._runs = 0

    async def __aenter__(self) -> Self:
        self._process.start()
        self._theirs.close()  # else the end of the process would not be seen
        try:
            await self._ask(LOGS_IN_WITHIN_S, "connect")
            await self.say(*login(Tls.NONE))  # no private server has it
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.kill()
        await asyncio.to_thread(self._process.join)

    async def say(self, *steps: Step) -> None:
        """Let each of them have a dialogue, some at a time; StreamError with the first trouble."""
        await self._ask(LOGS_IN_WITHIN_S, "say", steps)

    async def undoes(self, step: Step, what: str) -> None:
        """Nothing: the private server goes anyway."""

    async def lack(self, posts: int) -> None:
        """So many posts are to come to each of them."""
        await self._ask(LOGS_IN_WITHIN_S, "lack", posts)
        self._runs += 1

    def text(self, post: int) -> str:
        """Of one of these."""
        return text_of(self._runs - 1, post)

    async def return_(self, within_s: float) -> Back:
        """Let all of them be there again at once; returns when each has all. StreamError."""
        return Back(*await self._ask(within_s, "return"))

    async def account(self) -> Account:
        """What became of all posts up to now."""
        account: Account = await self._ask(LOGS_IN_WITHIN_S, "account")
        return account

    async def _ask(self, within_s: float, what: str, *arguments: object) -> Any:
        self._pipe.send((what, *arguments))
        if not await asyncio.to_thread(self._pipe.poll, within_s):
            raise StreamError(f"The followers were not done with {what!r} in {within_s:.0f} s.")
        try:
            trouble, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise StreamError("The process of the followers has ended.") from None
        if trouble is not None:
            raise StreamError(trouble)
        return answer


def live(pipe: Connection, where: Where, logins: Sequence[Login]) -> None:
    """Be so many clients and do what is wanted, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        asyncio.run(_Crowd(pipe, where, logins).live())


class _Crowd:
    """All clients, and the pipe to whoever wants something of them."""

    def __init__(self, pipe: Connection, where: Where, logins: Sequence[Login]) -> None:
        self._pipe = pipe
        self._where = where
        self._lacks: list[Lack] = []
        self._clients = [_Client(number, who, self._lacks) for number, who in enumerate(logins)]

    async def live(self) -> None:
        while True:
            what, *arguments = await self._wanted()
            try:
                self._pipe.send((None, await getattr(self, f"_{what}")(*arguments)))
            except StreamError as error:
                self._pipe.send((error.sentence, None))

    async def _wanted(self) -> Any:
        """What is asked for next."""
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        return self._pipe.recv()

    async def _connect(self) -> None:
        await self._each(lambda client: client.connects(self._where))

    async def _say(self, steps: Sequence[Step]) -> None:
        await self._each(lambda client: client.says(steps))

    async def _lack(self, posts: int) -> None:
        self._lacks.append(Lack(posts, len(self._clients)))

    async def _return(self) -> tuple[float, float, tuple[float, ...], int]:
        lack, began = self._lacks[-1], time.perf_counter()
        await asyncio.gather(*(client.says((RETURN,)) for client in self._clients))
        there = time.perf_counter()
        if lack.posts:
            await lack.all_ended.wait()
        return began, there, tuple(lack.ended), lack.disordered

    async def _account(self) -> Account:
        return account_of(self._lacks, [client.login.jid for client in self._clients])

    async def _each(self, does: Any) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(client: "_Client") -> None:
            async with room:
                await does(client)

        await asyncio.gather(*map(one, self._clients))


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, number: int, who: Login, lacks: Sequence[Lack]) -> None:
        self.login = who
        self._number = number
        self._lacks = lacks
        self._transport: asyncio.Transport | None = None
        self._step: Step | None = None
        self._heard: asyncio.Future[bytes | Failed] | None = None
        self._read = b""  # since that step was begun
        self._tail = b""  # what may be the beginning of a mark

    async def connects(self, where: Where) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self, where.host, where.port)

    async def says(self, steps: Sequence[Step]) -> None:
        """Have a dialogue; StreamError."""
        for step in steps:
            self._step, self._read = step, b""
            self._heard = asyncio.get_running_loop().create_future()
            self._sends(said(step.says, self.login))
            found = await self._heard
            self._step = self._heard = None
            if isinstance(found, Failed):
                raise StreamError(f"{self.login.jid} cannot go on: {found.said}")
            if step.answer:
                self._sends(said(step.answer, self.login))

    def _sends(self, xml: str) -> None:
        assert self._transport is not None
        self._transport.write(xml.encode())

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        marks, self._tail = marks_in(self._tail + data)
        for run, post in marks:
            self._lacks[run].came(self._number, post, now)
        for answer in answers(data):
            self._sends(answer)
        if self._step is not None and self._heard is not None and not self._heard.done():
            self._read += data
            found = heard(self._step, self._read)
            if found is not None:
                self._heard.set_result(found)

    def connection_lost(self, exception: Exception | None) -> None:
        if self._heard is not None and not self._heard.done():
            self._heard.set_exception(StreamError(f"{self.login.jid} has lost the connection"))
