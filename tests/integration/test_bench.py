"""`xmpprelay bench` as an operator has it, on servers as real ones are: encrypted, and checked."""

import asyncio
import json
import os
import pty
import re
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import pytest_asyncio
import trustme

from tests.conftest import keep_after_failure
from tests.integration.operators import REPOSITORY, Ended
from tests.servers.ejabberd import Ejabberd
from tests.servers.encrypted import BESIDE, SECRET, encrypted
from xmpprelay.bench.author import Author
from xmpprelay.bench.dialogues import Login, Step, Where
from xmpprelay.bench.followers import Followers
from xmpprelay.bench.measuring import Plan, measured
from xmpprelay.quickstart.private_server import free_port
from xmpprelay.quickstart.prosody import MODULES, Prosody
from xmpprelay.quickstart.relay_process import RelayProcess

FOLLOWERS = 20
SMALL = ("--followers", f"{FOLLOWERS}", "--rounds", "1", "--burst", "3", "--posts", "2")
DELIVERIES = FOLLOWERS * 2 * (5 + 3 + 2 + 1)  # in both ways: before it counts, burst, one by one, 1

KINDS = pytest.mark.parametrize("server", [Prosody, Ejabberd], indirect=True, scope="module")
EITHER = pytest.mark.parametrize("server", [Prosody], indirect=True, scope="module")
"""What a server has no part in."""


@dataclass
class Place:
    """A server, accounts on it, and the operator's shell."""

    server: Prosody | Ejabberd
    authority: Path
    folder: Path
    logins: list[Login] = field(default_factory=list)

    async def peopled(self) -> "Place":
        for number in range(FOLLOWERS + 1):
            password = f"<{number}>'\"{{}}"
            self.logins.append(Login(await self.server.add_user(f"b{number}", password), password))
        return self

    @property
    def where(self) -> Where:
        server = self.server
        return Where(server.host, server.c2s_port, ca_file=str(self.authority))

    def config(self, database: str = "relay.db", **xmpp: Any) -> Path:
        server = self.server
        values = {
            "domain": server.component_domain,
            "secret": server.component_secret,
            "host": server.host,
            "port": server.component_port,
        } | xmpp
        config = self.folder / "xmpprelay.toml"
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        url = f"sqlite:///{self.folder / database}"
        config.write_text("\n".join(["[xmpp]", *lines, "[store]", f'url = "{url}"', ""]))
        return config

    def accounts(self, logins: list[Login] | None = None) -> Path:
        rows = [
            f'{each.jid},"{each.password.replace(chr(34), chr(34) * 2)}"'
            for each in logins or self.logins
        ]
        file = self.folder / "accounts.csv"
        file.write_text("\n".join(["jid,password", *rows, ""]))
        return file

    async def bench(
        self,
        *arguments: str | Path,
        config: Path | None = None,
        accounts: Path | None = None,
        before: Callable[[], None] | None = None,
    ) -> Ended:
        """Run it to its end; `before` is done in its process."""
        if "--register" not in arguments:
            arguments = ("--accounts", accounts or self.accounts(), *arguments)
        process = await self.starts(
            *("--config", config or self.config(), *arguments),
            preexec_fn=before,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert b"Traceback" not in err
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    async def starts(self, *arguments: str | Path, **options: Any) -> asyncio.subprocess.Process:
        clients = f"{self.server.host}:{self.server.c2s_port}"
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xmpprelay", "bench", *SMALL, "--server", clients),
            *("--ca-file", str(self.authority), *map(str, arguments)),
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm"},
            start_new_session=True,
            **options,
        )

    async def people(self) -> int:
        """How many accounts the server has."""
        if isinstance(self.server, Ejabberd):
            return int(await self.server.ask('ejabberd_auth:count_users(<<"example.test">>).'))
        return len(list(self.server.folder.glob("data/*/accounts/*.dat")))

    async def asks(self, who: int, payload: str, to: str = "") -> str:
        """What an account is answered."""
        async with Author(self.where, self.logins[who]) as author:
            at = f" to='{to}'" if to else ""
            step = Step(
                f"<iq type='get' id='ask'{at}>{payload}</iq>",
                until=rb"<iq (?=[^>]*id=['\"]ask)[^>]*(/>|>.*</iq>)",
                fails=rb"</stream:stream>",
            )
            return (await author.says(step)).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    async with encrypted(request.param) as (server, authority):
        yield await Place(server, authority, tmp_path_factory.mktemp("bench")).peopled()
        keep_after_failure(server, request)


@pytest.fixture
def place(server: Place, short_path: Path) -> Place:
    """With a folder of the test's own."""
    return Place(server.server, server.authority, short_path, server.logins)


@KINDS
async def test_it_measures_both_ways_and_leaves_nothing_on_the_server(place: Place) -> None:
    file = place.folder / "figures.json"
    ended = await place.bench("--json", file)
    lines = ended.worked().splitlines()
    assert lines[0] == f"{place.server.name} of example.test: {FOLLOWERS} followers, one round"
    assert [line.split("  ")[0] for line in lines[2:4]] == ["the server's own pubsub", "the relay"]
    assert lines[-1] == f"of {DELIVERIES} deliveries nothing was lost, and nothing came twice"
    found = json.loads(file.read_text())
    assert found["account"] == {"expected": DELIVERIES, "lost": 0, "doubled": 0, "examples": []}
    assert found["turns"]["own"][0]["burst_us"]["way"] is None
    assert found["turns"]["relay"][0]["burst_us"]["way"] > 0
    assert found["peak_bytes"] >= found["idle_bytes"] > 0
    assert found["ratios"]["own"] == {"per_s": 1, "first_ms": 1, "last_ms": 1}
    for who in (0, 1, FOLLOWERS):
        assert "<item" not in await place.asks(who, "<query xmlns='jabber:iq:roster'/>")
    items = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
    assert "xmpprelay-bench-" not in await place.asks(0, items, to=place.logins[0].jid)
    assert not list(place.folder.glob("relay.db*"))


@KINDS
async def test_the_accounts_that_it_makes_are_removed(place: Place) -> None:
    before = await place.people()
    (await place.bench("--register")).worked()
    assert await place.people() == before


@KINDS
@pytest.mark.parametrize("stage", ["Followers log in", "Measuring"])
async def test_ctrl_c_removes_what_was_made(place: Place, stage: str) -> None:
    before = await place.people()
    with terminal() as (master, slave):
        process = await place.starts(
            *("--register", "--config", place.config(), "--rounds", "1000"),
            stdout=slave,
            stderr=slave,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        shown = await asyncio.to_thread(reads_until, master, stage)
        assert process.returncode is None, shown
        os.killpg(process.pid, signal.SIGINT)  # of a terminal, all its processes get it
        reading = asyncio.create_task(asyncio.to_thread(reads_until, master, None))
        assert await process.wait() == 130
        os.close(slave)
        assert "could not be removed" not in await reading
    assert await place.people() == before


@EITHER
async def test_followers_who_wait_for_what_never_comes_can_be_asked_for_other_things(
    place: Place,
) -> None:
    async with Followers(place.where, place.logins) as followers, asyncio.timeout(10):
        waiting = asyncio.create_task(followers.say(Step("<presence/>", until=b"never")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await followers.expect(1)
        assert (await followers.account()).lost == FOLLOWERS + 1


@KINDS
async def test_a_relay_that_runs_is_not_disturbed(place: Place) -> None:
    server = place.server
    relay = RelayProcess(place.folder, server)
    await relay.start()
    try:
        running = (await place.bench(config=place.config())).failed()
        assert running.startswith(f"The relay of {server.component_domain} is running: stop it, or")
        # The same domain by another configuration: asked of the server.
        connected = (await place.bench(config=place.config("other.db"))).failed()
        assert connected.startswith(f"{server.component_domain} is connected to the server already")
        secret = place.folder / "secret"
        secret.write_text(f"{SECRET}\n")
        config = place.config()
        (await place.bench("--domain", BESIDE, "--secret-file", secret, config=config)).worked()
        assert "stream.lost" not in relay.log.read_text()
        config = place.config()
        people = place.folder / "people.csv"
        people.write_text("jid,handle,follows\nalice@example.test,alice,\n")
        await relay.command("people", "import", str(people))
    finally:
        await relay.stop()
    # Who follows somebody there would be told by an empty relay that he does not.
    assert "has people (1), and one that does not know" in (await place.bench()).failed()


@KINDS
async def test_each_account_that_is_refused_is_named(place: Place) -> None:
    for who in (0, 3):
        logins = list(place.logins)
        logins[who] = Login(logins[who].jid, "wrong")
        said = (await place.bench(accounts=place.accounts(logins))).failed()
        assert f"does not let {logins[who].jid} log in (not-authorized" in said
        assert "is the password right" in said


@EITHER
async def test_what_is_missing_is_one_line(place: Place) -> None:
    few = place.accounts(place.logins[:13])
    assert (await place.bench(accounts=few)).failed() == (
        f"{few} has 13 accounts, and 20 followers and an author need 21: make more accounts, or "
        "take --followers 12."
    )
    port = free_port()
    assert (
        "No XMPP server listens for clients at 127.0.0.1 port"
        in (await place.bench("--server", f"127.0.0.1:{port}")).failed()
    )
    nobody = await place.bench(config=place.config(port=port))
    assert "No XMPP server listens for components at 127.0.0.1 port" in nobody.failed()
    wrong = await place.bench(config=place.config(secret="wrong"))
    assert wrong.failed().startswith("The server refuses the component's secret")
    unknown = await place.bench(config=place.config(domain="unknown.example.test"))
    assert unknown.failed().startswith("The server knows no component unknown.example.test")
    limited = await place.bench(
        before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    )
    assert "type `sudo prlimit --pid $$ --nofile=220:220`" in limited.failed()


@KINDS
async def test_certificates_are_checked(place: Place) -> None:
    other = place.folder / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    distrusted = (await place.bench("--ca-file", other)).failed()
    assert distrusted.startswith("The server's certificate is not trusted (unable to get local")
    (await place.bench("--ca-file", other, "--tls", "unchecked")).worked()
    in_the_clear = (await place.bench("--tls", "none")).failed()
    assert "it does not offer SASL PLAIN without TLS" in in_the_clear
    assert "c2s_require_encryption" in in_the_clear
    assert "starttls_required" in in_the_clear


async def test_a_server_that_dies_is_told_at_once_with_what_is_left_there(short_path: Path) -> None:
    async with encrypted(Prosody) as (server, authority):
        place = await Place(server, authority, short_path).peopled()
        with terminal() as (master, slave):
            arguments = ("--accounts", place.accounts(), "--config", place.config())
            process = await place.starts(*arguments, "--rounds", "1000", stdout=slave, stderr=slave)
            os.close(slave)
            await asyncio.to_thread(reads_until, master, "Measuring")
            async with asyncio.timeout(10):
                await server.kill()
                shown = await asyncio.to_thread(reads_until, master, None)
                assert await process.wait() == 1
    assert "xmpprelay: The server closed the connection of b" in shown
    home = f"home@{server.component_domain}"
    assert re.search(rf"{home} among the contacts of b\d+@.* and 17 more could not be", shown)
    assert re.search(r"the node xmpprelay-bench-\w+ of b0@example.test could not be", shown)


LIMITED = ", ".join(f'"{name}"' for name in (*MODULES, "tls", "limits"))
SHAPED = {
    Prosody: f'modules_enabled = {{ {LIMITED} }} limits = {{ c2s = {{ rate = "30kb/s" }} }}',
    Ejabberd: {
        "shaper": {"normal": {"rate": 10_000, "burst_size": 20_000}},
        "shaper_rules": {"c2s_shaper": "normal"},
    },
}


@pytest.mark.parametrize(("kind", "setting"), [(Prosody, "`limits`"), (Ejabberd, "`c2s_shaper`")])
async def test_a_shaper_that_would_be_measured_is_told_of(
    kind: type[Prosody] | type[Ejabberd], setting: str, short_path: Path
) -> None:
    async with encrypted(kind, SHAPED[kind]) as (server, authority):
        place = await Place(server, authority, short_path).peopled()
        ended = await place.bench("--followers", "2", "--burst", "1", "--posts", "1")
    assert ended.code == 0
    (warning,) = ended.err.splitlines()
    assert re.match(rf"xmpprelay: {kind.name} takes \d+ kB a second of b0@example.test", warning)
    assert setting in warning
    assert "nothing was lost, and nothing came twice" in ended.out


@EITHER
async def test_what_comes_twice_is_found(place: Place) -> None:
    async with (
        Author(place.where, place.logins[0]) as author,
        Followers(place.where, place.logins[1:4]) as followers,
    ):
        ways = (Twice(author, followers), Twice(author, followers))
        found = await measured(ways, followers, Plan(3, rounds=1, burst=1, singles=1))
    assert found.account.expected == 3 * 2 * (5 + 1 + 1 + 1)
    assert found.account.doubled >= found.account.expected - 3  # the last ones are on their way
    assert not found.account.lost
    assert not found.account.well


class Twice:
    """A way that brings each post twice."""

    name: ClassVar[str] = "twice"
    short: ClassVar[str] = "twice"
    pid = os.getpid()

    def __init__(self, author: Author, followers: Followers) -> None:
        self._author, self._followers = author, followers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def sends(self, text: str) -> None:
        for jid in self._followers.jids * 2:
            self._author.chats(jid, text, "twice")


async def test_the_setting_of_prosody_that_is_in_the_way_is_named(short_path: Path) -> None:
    async with encrypted(Prosody, "allow_registration = false") as (server, authority):
        place = await Place(server, authority, short_path).peopled()
        said = (await place.bench("--register")).failed()
    assert "does not let xmpprelay-bench-" in said
    assert "set `allow_registration = true`" in said


async def test_the_setting_of_ejabberd_that_is_in_the_way_is_named(short_path: Path) -> None:
    rules = {"access_rules": {"c2s": [{"deny": "followers"}, {"allow": "all"}]}}
    acl = {"acl": {"followers": {"user_regexp": "^b[1-9]"}}}
    slow = {"registration_timeout": 600}
    async with encrypted(Ejabberd, rules | acl | slow) as (server, authority):
        place = await Place(server, authority, short_path).peopled()
        said = (await place.bench()).failed()
        assert re.match(r"ejabberd does not let b\d+@example.test log in \(not-allowed", said), said
        assert "`c2s` of `access_rules`" in said
        before = await place.people()
        said = (await place.bench("--register")).failed()
        assert "`registration_timeout: infinity`" in said
        assert await place.people() == before


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)


def reads_until(master: int, words: str | None) -> str:
    """What a terminal shows, until it shows these words; None: to its end."""
    shown = b""
    while words is None or words.encode() not in shown:
        try:
            shown += os.read(master, 65536)
        except OSError:  # the end of a terminal, in Linux
            break
    return shown.decode(errors="replace")
