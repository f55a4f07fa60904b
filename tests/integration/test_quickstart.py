"""The quickstart as a newcomer has it: a process that is started, read and interrupted.

Each run has a mark in its environment, which everything it starts inherits: that is how a test
knows that nothing of it is left. Its temporary directory is its own, for the same reason.
"""

import asyncio
import codecs
import contextlib
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from xmpprelay.errors import ConfigError, StreamError
from xmpprelay.primary.answers import Answer
from xmpprelay.primary.http import Http
from xmpprelay.primary.mastodon import login
from xmpprelay.quickstart.people import Person
from xmpprelay.quickstart.place import open_place
from xmpprelay.quickstart.primaries import DemoPrimary
from xmpprelay.quickstart.private_server import free_port

STEPS = (
    " 1  A private server, and the relay on it",
    " 2  alice joins, and posts",
    " 3  bob follows her from his contact list",
    " 4  carol follows her by typing a line",
    " 5  alice posts, and both have it at once",
    " 6  bob goes away, and gets what he missed when he is back",
    " 7  The relay is restarted, and nobody is unfollowed",
    " 8  The journal has every post",
)
ON_DEMO = (
    " 9  They link their accounts at the primary service",
    "10  What alice posts is inserted there",
    "11  The primary dies, and nobody has to wait for it",
    "12  It is back: what has waited trickles in, once and in order",
)
ON_TABLE = (" 9  The primary service, a table, has every post too",)
STAYS = "What alice, bob and carol get is shown here:"

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
BAR = re.compile(r"queue.*━.*16/16.*inserted")


@dataclass
class Newcomer:
    """Somebody with a shell in which he starts quickstarts."""

    tmp: Path  # the temporary directory, which Prosody's user can enter
    mark: str
    started: list["subprocess.Popen[str] | subprocess.Popen[bytes]"] = field(default_factory=list)

    def environ(self, **more: str) -> dict[str, str]:
        return os.environ | {"TMPDIR": str(self.tmp), "QUICKSTART_TEST": self.mark} | more

    def starts(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """A quickstart without a terminal."""
        process = subprocess.Popen(
            [sys.executable, "-m", "xmpprelay", "quickstart", *arguments],
            env=self.environ(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def runs(self, *arguments: str, **more: str) -> tuple[int, str, str]:
        """Exit code and what it said, on standard output and error."""
        process = self.starts(*arguments, **more)
        out, err = process.communicate()
        return process.returncode, out, err

    def processes(self) -> dict[int, str]:
        """What runs of all that he has started: process id to command line."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile, or is somebody else's
                if self.mark.encode() in (folder / "environ").read_bytes():
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = line.decode()
        return found

    def ends(self, program: str) -> None:
        """Kills the one process of his with these words in its command line."""
        (pid,) = (pid for pid, line in self.processes().items() if program in line)
        os.kill(pid, signal.SIGKILL)

    def has_nothing_left(self) -> bool:
        assert self.processes() == {}
        assert list(self.tmp.iterdir()) == []
        return True


@pytest.fixture
def newcomer() -> Iterator[Newcomer]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        someone = Newcomer(Path(folder), uuid.uuid4().hex)
        yield someone
        for pid in someone.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in someone.started:
            process.wait()


class Terminal:
    """A quickstart on a terminal of its own: what it says can be read, and Ctrl-C be pressed."""

    def __init__(self, newcomer: Newcomer, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        # setsid makes the terminal the controlling one: it is what turns Ctrl-C into a signal.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "xmpprelay", "quickstart", *arguments],
            env=newcomer.environ(TERM="xterm", COLUMNS="80"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        newcomer.started.append(self.process)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.written = ""

    @property
    def said(self) -> str:
        """All it has said, without the colours."""
        return COLOURS.sub("", self.written).replace("\r\n", "\n")

    def reads_until(self, text: str) -> str:
        """All it has said, as soon as the text is in it."""
        while text not in self.said:
            self._read()
        return self.said

    def presses_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def presses_ctrl_d(self) -> None:
        os.write(self._master, b"\x04")

    def types(self, line: str) -> None:
        os.write(self._master, f"{line}\n".encode())

    def ends(self) -> int:
        """Reads to the end; the exit code."""
        with contextlib.suppress(OSError):  # how a terminal says that nobody has it any more
            while True:
                self._read()
        os.close(self._master)
        return self.process.wait()

    def _read(self) -> None:
        self.written += self._decoder.decode(os.read(self._master, 65536))


def in_order(texts: tuple[str, ...], said: str) -> bool:
    places = [said.find(text) for text in texts]
    assert -1 not in places, said
    return places == sorted(places)


def test_without_a_terminal_the_tour_is_played_and_nothing_is_left(newcomer: Newcomer) -> None:
    code, out, err = newcomer.runs()
    assert (code, err) == (0, ""), out
    assert in_order((*STEPS, *ON_DEMO, "All 12 steps worked"), out)
    assert "alice ← home@relay  ok #2: 2 people" in out
    assert "bob   ← alice@relay The kettle is on. Who wants tea?" in out
    assert "carol ← home@relay  alice: The kettle is on. Who wants tea?  #2" in out
    assert "alice ← home@relay  You are linked as @alice@127.0.0.1." in out
    assert re.search(r"bob   ← home@relay  \(standby since ..:.. UTC, 3 waiting\)", out)
    assert "primary on standby, 3 before" in out
    assert re.search(r'reads "You are the best." in her feed.*\n +http://127\S+/@alice.atom\n', out)
    assert re.search(r"is on standby since\s+..:.. UTC,\s+16 waiting", out)
    assert "primary             has taken 16 posts from the queue" in out
    assert "journal             has 17 posts for the primary" in out
    assert "has 17: no loss, no double, each author in order" in out
    assert re.search(r"From alice to a follower: [0-9.]+ to [0-9.]+ m?s\.", out)
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert STAYS not in out
    assert newcomer.has_nothing_left()


def test_a_kept_folder_goes_on_where_it_was(newcomer: Newcomer) -> None:
    folder = newcomer.tmp / "kept"
    for number in (1, 2):
        code, out, err = newcomer.runs("--tour-only", "--data-dir", str(folder))
        assert (code, err) == (0, ""), out
        assert ("You follow @alice already." in out) == (number == 2)
        assert ("alice@relay among his contacts already" in out) == (number == 2)
        assert ("Open this address" in out) == (number == 1)
    assert "has 17: no loss, no double" in out
    assert f"Kept in {folder}" in out
    assert newcomer.processes() == {}
    assert list(newcomer.tmp.iterdir()) == [folder]
    names = ("accounts.json", "xmpprelay.toml", "relay.db", "primary-demo.db")
    assert [(folder / name).stat().st_mode & 0o077 for name in names] == [0, 0, 0, 0]


def test_a_table_of_a_file_is_a_primary_too(newcomer: Newcomer) -> None:
    folder = newcomer.tmp / "kept"
    code, out, err = newcomer.runs("--tour-only", "--primary", "sql", "--data-dir", str(folder))
    assert (code, err) == (0, ""), out
    assert in_order((*STEPS, *ON_TABLE, "has 4: no loss", "All 9 steps worked"), out)
    with closing(sqlite3.connect(folder / "primary.db")) as table:
        rows = table.execute("SELECT handle, text FROM post ORDER BY rowid").fetchall()
    assert [handle for handle, _ in rows] == ["alice"] * 4
    assert rows[-1][1] == "I was gone for a moment. More tea?"
    assert newcomer.processes() == {}


def test_passwords_and_port_stay_those_of_a_kept_folder(newcomer: Newcomer) -> None:
    folder = newcomer.tmp / "kept"
    with open_place(folder) as first:
        assert not first.known
    with open_place(folder) as second:
        assert second.known
    assert second.passwords == first.passwords
    assert second.server.c2s_port == first.server.c2s_port
    assert second.pages == first.pages


async def test_a_demo_primary_that_is_killed_has_what_it_has_taken(tmp_path: Path) -> None:
    demo = DemoPrimary(tmp_path, free_port())
    demo.join("alice", "her password")
    await demo.start()
    http = Http([demo.site])
    client = await login.register(http, demo.site)
    assert isinstance(client, login.Client)
    address = login.authorize_url(demo.site, client, "a verifier")
    code = await demo.lets_in(address, "alice", "her password")
    token = await login.exchange(http, demo.site, client, code, "a verifier")
    assert isinstance(token, str)
    ids = []
    for text in ("one", "two", "two"):
        how = {"token": token, "headers": {"Idempotency-Key": text}, "json": {"status": text}}
        answer = await http.request("POST", demo.site, "/api/v1/statuses", **how)
        assert isinstance(answer, Answer)
        ids.append(answer.json()["id"])
        await demo.kill()
        assert not demo.running
        await demo.start()
    assert len(set(ids)) == 2
    assert [each.text for each in await demo.posts()] == ["one", "two"]
    await http.aclose()
    await demo.close()
    assert not demo.running


async def test_a_demo_primary_whose_port_is_taken_is_told(tmp_path: Path) -> None:
    first, second = (DemoPrimary(tmp_path, port) for port in [free_port()] * 2)
    await first.start()
    with pytest.raises(StreamError, match="Another program uses port"):
        await second.start()
    await first.close()


def test_two_quickstarts_do_not_share_a_folder(newcomer: Newcomer) -> None:
    folder = newcomer.tmp / "kept"
    with (
        open_place(folder),
        pytest.raises(ConfigError, match="Another quickstart uses"),
        open_place(folder),
    ):
        raise AssertionError("it was opened twice")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"passwords": {}, "port": 99999}'])
def test_a_damaged_file_of_accounts_is_told(newcomer: Newcomer, content: str) -> None:
    folder = newcomer.tmp / "kept"
    with open_place(folder):
        pass
    (folder / "accounts.json").write_text(content)
    with pytest.raises(ConfigError, match="is damaged: remove it"), open_place(folder):
        raise AssertionError("it was opened")


@pytest.mark.parametrize(
    ("name", "problem"), [("a#b", "has a # or ?"), ("a\nb", "does not print"), ("a" * 93, "longer")]
)
def test_a_name_that_the_relay_cannot_use_is_told_first(
    newcomer: Newcomer, name: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem), open_place(newcomer.tmp / name):
        raise AssertionError("it was opened")
    assert list(newcomer.tmp.iterdir()) == []


def test_a_folder_that_is_of_no_use_is_told_in_one_line(newcomer: Newcomer) -> None:
    (newcomer.tmp / "file").touch()
    code, out, err = newcomer.runs("--data-dir", str(newcomer.tmp / "file" / "kept"))
    assert (code, out) == (78, "")
    assert re.fullmatch(r"xmpprelay: .*: choose another --data-dir.*\n", err), err


def test_a_server_that_dies_in_the_middle_ends_the_tour_with_the_step(newcomer: Newcomer) -> None:
    process = newcomer.starts("--tour-only")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(STEPS[2]):  # early: the whole tour takes four seconds
            break
    newcomer.ends("prosody -F")
    out, err = process.communicate()
    assert process.returncode == 1
    assert "steps worked" not in out
    assert re.search(r"Step [3-8] \(.*\) failed\. ", " ".join(err.split())), err
    assert "The last lines of the relay's log" in err
    assert "The last lines of Prosody's log" in err
    assert "Traceback" not in err
    assert newcomer.has_nothing_left()


def test_a_server_that_does_not_start_fails_the_first_step(newcomer: Newcomer) -> None:
    programs = newcomer.tmp / "bin"
    programs.mkdir()
    (programs / "prosody").write_text("#!/bin/sh\necho 'I am out of order'\nexit 3\n")
    (programs / "prosody").chmod(0o755)
    code, _out, err = newcomer.runs("--tour-only", PATH=f"{programs}:{os.environ['PATH']}")
    assert code == 1
    assert "Step 1 (A private server, and the relay on it) failed. " in " ".join(err.split())
    assert "I am out of order" in err
    assert "Traceback" not in err
    assert newcomer.processes() == {}
    assert list(newcomer.tmp.iterdir()) == [programs]


def test_a_relay_that_does_not_start_fails_the_first_step(newcomer: Newcomer) -> None:
    folder = newcomer.tmp / "kept"
    with open_place(folder):
        (folder / "relay.db").write_bytes(b"not a database" * 1000)
    code, _out, err = newcomer.runs("--tour-only", "--data-dir", str(folder))
    assert code == 1
    assert "failed. The relay ended at once, with exit code " in " ".join(err.split())
    assert re.search(r"^xmpprelay: .*relay\.db", err, re.MULTILINE), err  # its own sentence
    assert "Traceback" not in err
    assert newcomer.processes() == {}


def test_afterwards_the_primary_is_taken_away_and_brought_back_by_hand(newcomer: Newcomer) -> None:
    terminal = Terminal(newcomer)
    said = terminal.reads_until(STAYS)
    assert "primary   http://127.0.0.1:" in said
    assert BAR.search(terminal.written), "a terminal is worth a bar"
    terminal.types("primary up")
    terminal.reads_until("It is up already.")
    terminal.types("primary down")
    terminal.reads_until("`primary up` ends it.")
    assert "demo_primary" not in " ".join(newcomer.processes().values())
    asyncio.run(posts(said, "Is it down?", "It is."))
    terminal.reads_until("alice: It is.  #")
    assert "It is." in asyncio.run(page(said, "@alice"))
    assert "on standby" in asyncio.run(page(said, "status"))
    terminal.types("primary up")
    terminal.reads_until("has taken 2 posts from the queue")
    timeline = asyncio.run(newest(said, 2))
    assert timeline == [("alice", "Is it down?"), ("alice", "It is.")]
    terminal.types("what now")
    terminal.reads_until("Here one types: primary down, primary up.")
    terminal.presses_ctrl_d()
    assert terminal.ends() == 0
    assert "Traceback" not in terminal.said
    assert newcomer.has_nothing_left()


async def posts(said: str, *texts: str) -> None:
    """Somebody with a client of his own is alice, and posts."""
    server = re.search(r"server +(\S+), port (\d+)", said)
    password = re.search(r"or be +(\S+), with the password (\S+)", said)
    assert server is not None
    assert password is not None
    alice = Person("alice", password[1], password[2], server[1], int(server[2]))
    await alice.log_in()
    for text in texts:
        sent = alice.says("home@relay.example.test", text)
        await alice.sees("an answer", lambda seen: seen.text.startswith("ok #"), answers=sent)
    await alice.log_out()


async def page(said: str, path: str) -> str:
    """What there is to read on a page."""
    front = re.search(r"pages +(\S+) in a browser", said)
    assert front is not None
    async with aiohttp.request("GET", f"{front[1]}{path}") as answer:
        assert answer.status == 200
        return await answer.text()


async def newest(said: str, count: int) -> list[tuple[str, str]]:
    """The newest posts at the demo primary: author and text, oldest first."""
    site = re.search(r"primary +(http://127\.0\.0\.1:(\d+)) in a browser", said)
    assert site is not None
    demo = DemoPrimary(Path(), int(site[2]))
    found = await demo.posts()
    await demo.close()
    return [(each.author, each.text) for each in found[-count:]]


def test_ctrl_c_ends_what_stays_up_after_the_tour(newcomer: Newcomer) -> None:
    terminal = Terminal(newcomer, "--primary", "none")
    said = terminal.reads_until(STAYS)
    assert in_order((*STEPS, "All 8 steps worked", "you@example.test", "/connect you@"), said)
    assert len(newcomer.processes()) == 3
    terminal.types("primary down")
    terminal.reads_until("There is no demo primary")
    began = time.monotonic()
    terminal.presses_ctrl_c()
    assert terminal.ends() == 0
    assert time.monotonic() - began < 5
    assert COLOURS.search(terminal.written), "a terminal is worth colours"
    assert "Ended: the relay and its server are stopped." in terminal.said
    assert "Traceback" not in terminal.said
    assert newcomer.has_nothing_left()


def test_ctrl_c_in_the_middle_of_the_tour_says_where(newcomer: Newcomer) -> None:
    terminal = Terminal(newcomer)
    terminal.reads_until(STEPS[2])
    terminal.presses_ctrl_c()
    assert terminal.ends() == 130
    assert re.search(r"Interrupted at step [345678] ", terminal.said), terminal.said
    assert "Traceback" not in terminal.said
    assert newcomer.has_nothing_left()


def test_a_relay_that_dies_afterwards_ends_it_with_its_log(newcomer: Newcomer) -> None:
    terminal = Terminal(newcomer, "--primary", "none")
    terminal.reads_until(STAYS)
    newcomer.ends("xmpprelay run")
    assert terminal.ends() == 1
    assert "The relay ended by itself." in terminal.said
    assert "relay.ready" in terminal.said
    assert newcomer.has_nothing_left()


def test_a_quickstart_that_is_killed_takes_its_children_with_it(newcomer: Newcomer) -> None:
    terminal = Terminal(newcomer)
    terminal.reads_until(STEPS[2])  # all of them run by then, and nothing of them changes soon
    started = newcomer.processes()
    del started[terminal.process.pid]
    assert len(started) == 3
    for program in ("prosody -F", "demo_primary", "xmpprelay run"):
        assert any(program in line for line in started.values())
    children = [os.pidfd_open(pid) for pid in started]
    terminal.process.kill()
    for child in children:
        select.select([child], [], [], 30)
        os.close(child)
    assert terminal.ends() == -signal.SIGKILL
    assert newcomer.processes() == {}
