"""Followers who are really logged in, in one light process of their own (`crowd.py`).

    async with Followers(server, 1000) as followers:
        await followers.say(Step("<iq …>", until=rb"…"))    # each of them
        posts = await followers.expect(20)
        …                                                   # posts.text(0) and so on are sent
        await posts.all_there(within_s=60)

The times are those of `time.perf_counter`, one clock for all processes of a machine.
"""

import asyncio
import multiprocessing
import resource
from collections.abc import Sequence
from typing import Any, Final, Self

from tests.bench.crowd import (
    CLOSED,
    LOGIN,
    NO_PLAIN,
    PASSWORD,
    REFUSED,
    Account,
    Step,
    Where,
    live,
)
from tests.servers.ejabberd import Ejabberd
from xmpprelay.errors import StreamError, XmppRelayError
from xmpprelay.quickstart.private_server import PrivateServer
from xmpprelay.quickstart.prosody import Prosody

CHARACTERS: Final = 160
"""Of a post's text."""

_REST: Final = "and so on, as somebody writes who has things to tell to all who follow her; " * 3

_OTHER_FILES: Final = 200
"""What a server has open besides the connections; a guess."""

_ACCOUNTS_AT_ONCE: Final = 500
"""That ejabberd makes in one go, which takes it a moment."""


class Posts:
    """Some posts that all followers are to get, and when they came."""

    def __init__(self, run: int, count: int) -> None:
        self.count = count
        self._run = run
        self._arrivals: dict[int, tuple[float, float]] = {}  # post -> to the first, to the last
        self._more = asyncio.Event()

    def text(self, number: int) -> str:
        """The text of one, with its mark in it."""
        return f"A post ~{self._run}.{number}~ {_REST}"[:CHARACTERS]

    def arrived(self, number: int, first: float, last: float) -> None:
        """Everybody has had one."""
        self._arrivals[number] = first, last
        self._more.set()

    async def there(self, number: int, within_s: float) -> tuple[float, float]:
        """When the first and when the last follower had one; TimeoutError."""
        async with asyncio.timeout(within_s):
            while number not in self._arrivals:
                self._more.clear()
                await self._more.wait()
        return self._arrivals[number]

    async def all_there(self, within_s: float) -> float:
        """When everybody had had all of them; TimeoutError."""
        async with asyncio.timeout(within_s):
            return max([(await self.there(n, within_s))[1] for n in range(self.count)])


class Followers:
    """So many people of a server, with their clients; they are gone when this process is.

    StreamError when they cannot log in, with the setting of the server that is in the way.
    """

    def __init__(self, server: PrivateServer, count: int) -> None:
        self.names = [f"f{number}" for number in range(count)]
        self.jids = [f"{name}@{server.domain}" for name in self.names]
        self._server = server
        context = multiprocessing.get_context("spawn")  # this process has a loop that runs
        self._pipe, self._theirs = context.Pipe()
        where = Where(server.host, server.c2s_port, server.domain)
        self._process = context.Process(target=live, args=(self._theirs, where, count), daemon=True)
        self._posts: list[Posts] = []
        self._answer: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        """They have accounts, and are there."""
        await make_accounts(self._server, self.names)
        self._process.start()
        self._theirs.close()  # else the end of the process would not be seen
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._hear)
        try:
            await self.say(*LOGIN)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._pipe.close()
        self._process.kill()
        await asyncio.to_thread(self._process.join)

    @property
    def pid(self) -> int:
        """Of their process."""
        assert self._process.pid is not None
        return self._process.pid

    async def say(self, *steps: Step) -> None:
        """Let each of them have a dialogue, some at a time; StreamError with the first trouble."""
        trouble = await self._ask("say", steps)
        if trouble is not None:
            raise StreamError(_advice(self._server.name, *trouble))

    async def expect(self, count: int) -> Posts:
        """So many posts are to come to each of them."""
        posts = Posts(len(self._posts), count)
        self._posts.append(posts)
        await self._ask("expect", count)
        return posts

    async def account(self) -> Account:
        """What became of all posts up to now."""
        account: Account = await self._ask("account")
        return account

    async def _ask(self, what: str, argument: object = None) -> Any:
        self._answer = asyncio.get_running_loop().create_future()
        self._pipe.send((what, argument))
        return await self._answer

    def _hear(self) -> None:
        assert self._answer is not None
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


async def make_accounts(server: PrivateServer, names: Sequence[str]) -> None:
    """Accounts for all of them, by the quickest way that the server has."""
    if isinstance(server, Prosody):
        await server.add_user(names[0], PASSWORD)
        (first,) = server.folder.glob(f"data/*/accounts/{names[0]}.dat")
        for name in names[1:]:  # `prosodyctl` would be a process each
            path = first.with_name(f"{name}.dat")
            path.write_text(f'return {{\n\t["password"] = "{PASSWORD}";\n}};\n')
            path.chmod(0o644)  # it is another user's, where this one is root
    elif isinstance(server, Ejabberd):
        for at in range(0, len(names), _ACCOUNTS_AT_ONCE):
            some = ",".join(f'<<"{name}">>' for name in names[at : at + _ACCOUNTS_AT_ONCE])
            made = f'ejabberd_auth:try_register(Name, <<"{server.domain}">>, <<"{PASSWORD}">>)'
            await server.ask(f"[ok = {made} || Name <- [{some}]], ok.")
    else:
        raise TypeError(f"nobody knows how accounts are made on {server.name}")


_SETTINGS: Final = {
    "Prosody": {
        NO_PLAIN: "set `c2s_require_encryption = false` and `allow_unencrypted_plain_auth = true`",
        # Without a file left it cannot read an account, and takes the password for a wrong one.
        REFUSED: "look at `authentication`; where others could log in before, raise its "
        "`ulimit -n` (LimitNOFILE= of its unit)",
        CLOSED: "raise its `ulimit -n` (LimitNOFILE= of its unit), and `limits = { c2s = … }` "
        "where mod_limits is on",
    },
    "ejabberd": {
        NO_PLAIN: "take PLAIN out of `disable_sasl_mechanisms`, and set "
        "`starttls_required: false` for the listener of `ejabberd_c2s`",
        REFUSED: "look at `auth_method`, and at `c2s` of `access_rules`",
        CLOSED: "raise its `ulimit -n` and ERL_MAX_PORTS, and `backlog` and `shaper` of the "
        "listener of `ejabberd_c2s`",
    },
}


def _advice(server: str, who: str, kind: str, said: str) -> str:
    setting = _SETTINGS[server].get(kind)
    if setting is None:
        return f"{server} does not let {who} go on: {said}"
    return f"{server} does not let {who} log in ({said}): {setting}."
