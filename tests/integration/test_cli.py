"""The command line as an operator sees it: what it prints, and how it ends.

What only a process can show (its exit code, signals, terminals, broken pipes) is shown by real
ones. The rest calls the same function as the console script does, since a process takes a second.
"""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from tests.integration.operators import REPOSITORY, Operator, on_a_terminal, operator
from xmpprelay import __version__
from xmpprelay.cli import root
from xmpprelay.config import markdown, sample
from xmpprelay.control import ControlServer, Request
from xmpprelay.errors import Refused
from xmpprelay.store.database import Database
from xmpprelay.store.operations import add_person
from xmpprelay.store.posts import PostRow, append_post

__all__ = ["operator"]

PEOPLE = """\
jid,handle,follows
alice@example.org,alice,bob carol
bob@example.org,bob,alice
carol@other.org,carol,
dave@other.org,,alice
"""


def now() -> datetime:
    return datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


async def post(operator: Operator, *texts: str, open_lanes: tuple[str, ...] = ()) -> None:
    """Let alice post."""
    database = await Database.open(operator.url, now=now)
    author = await database.write(add_person, "alice@example.org")
    for text in texts:
        await database.write(append_post, PostRow(author.id, text, lanes=lambda _: open_lanes))
    await database.close()


def make_newer(operator: Operator) -> None:
    """Let the database be one of a later version."""
    with sqlite3.connect(operator.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


# ---- the command line itself ----


def commands(command: click.Command, name: str = "") -> list[tuple[str, click.Command]]:
    found = [(name, command)]
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            found += commands(inner, f"{name} {word}".strip())
    return found


@pytest.mark.parametrize(("name", "command"), commands(root))
def test_every_command_has_help_with_an_example_that_exists(
    name: str, command: click.Command
) -> None:
    example = (command.epilog or "").removeprefix("Example: xmpprelay ")
    assert example != command.epilog
    assert example.startswith(name)
    with command.make_context(name, [], resilient_parsing=True) as context:
        text = command.get_help(context)
    assert "Example: " in text
    assert "..." not in text.partition("Commands:")[2]  # every summary fits its line
    with pytest.raises(click.exceptions.Exit):
        root.make_context("xmpprelay", ["--help"])


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    heavy = {"sqlalchemy", "slixmpp", "pydantic", "structlog", "rich", "alembic"}
    code = f"import sys, xmpprelay.cli; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_version_is_told(operator: Operator) -> None:
    assert operator.run("--version").worked() == f"xmpprelay {__version__}\n"


def test_no_command_at_all_gives_the_help(operator: Operator) -> None:
    ended = operator.run()
    assert ended.code == 2
    assert ended.err.startswith("Usage: xmpprelay")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["jornal"], "Did you mean 'journal'? `xmpprelay --help` tells more."),
        (["people", "imprt"], "Did you mean 'import'? `xmpprelay people --help` tells more."),
        (["a\nb"], "No such command"),
        (["journal", "list", "--limt", "3"], "Did you mean '--limit'?"),
        (["journal", "list", "--limit", "0"], "Invalid value for '--limit'"),
        (["journal", "trace"], "Missing argument 'ID'. `xmpprelay journal trace --help` tells"),
        (["backup"], "Missing argument 'FILE'"),
        (["run", "now"], "unexpected extra argument"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_line_with_what_to_type(
    operator: Operator, arguments: list[str], expected: str
) -> None:
    assert expected in operator.run(*arguments).failed(2)


def test_a_full_disk_behind_the_output_is_told(operator: Operator) -> None:
    with Path("/dev/full").open("w") as full:
        ended = operator.run_process("config", "sample", stdout=full)
    assert ended.failed().startswith("No space left on device")


@pytest.mark.parametrize("command", [["config", "sample"], ["people", "export"]])
def test_a_reader_that_has_seen_enough_is_no_error(operator: Operator, command: list[str]) -> None:
    operator.run("people", "import", operator.file("people.csv", PEOPLE)).worked()
    reading, writing = os.pipe()
    os.close(reading)
    ended = operator.run_process(*command, stdout=writing)
    os.close(writing)
    assert ended.err == ""


def test_what_the_terminal_cannot_show_becomes_an_escape(operator: Operator) -> None:
    operator.environ["PYTHONIOENCODING"] = "latin-1"
    operator.file("people.csv", "jid,handle,follows\nłucja@example.org,,\n")
    operator.run("people", "import", "people.csv").worked()
    assert "\\u0142ucja@example.org" in operator.run_process("people", "list").worked()
    assert "łucja@example.org,," in operator.run_process("people", "export").worked()  # UTF-8


def test_ctrl_c_ends_a_command_without_a_word(operator: Operator) -> None:
    del operator.environ["PYTHONWARNINGS"]  # a file that was just being opened is left open
    pipe = operator.folder / "pipe"
    os.mkfifo(pipe)
    # The file can be opened for writing as soon as the command reads it; then it waits for lines.
    with operator.start("people", "import", pipe) as process, pipe.open("w"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "", "")


async def test_errors_end_a_process_with_one_line_and_a_code(operator: Operator) -> None:
    def failed(code: int, *arguments: str) -> str:
        return operator.run_process(*arguments).failed(code)

    assert "Did you mean 'journal'?" in failed(2, "jornal")
    assert "There is no file " in failed(78, "run", "--config", "none.toml")
    assert "There is no database at " in failed(1, "journal", "list")
    await post(operator, "one")
    make_newer(operator)
    assert "a later version" in failed(65, "people", "list")
    operator.configure("port = 0")
    ended = operator.run_process("run")
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (78, "", 2)
    operator.configure(database=operator.folder / "nothing" / "relay.db")
    assert "There is no " in failed(1, "backup", "copy.db")


# ---- config ----


def test_the_sample_is_printed_and_is_the_librarys(operator: Operator) -> None:
    assert operator.run("config", "sample").worked() == sample()
    assert operator.run("config", "sample", "--markdown").worked() == markdown()


def test_a_right_configuration_is_called_so(operator: Operator) -> None:
    assert operator.run("config", "check").worked() == f"{operator.config} has no mistakes.\n"


def test_what_is_doubtful_in_a_right_configuration_is_warned_of(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = operator.file("secret", "s3cret")
    secret.chmod(0o644)
    operator.configure('secret_file = "secret"')
    monkeypatch.delenv("XMPPRELAY_SECRET")
    ended = operator.run("config", "check")
    assert ended.code == 0
    assert ended.err.startswith(f"xmpprelay: warning: {secret} holds the secret")
    assert "s3cret" not in ended.err


@pytest.mark.parametrize("command", [["config", "check"], ["run"], ["journal", "list"]])
def test_all_mistakes_of_a_configuration_are_told_one_a_line(
    operator: Operator, command: list[str]
) -> None:
    operator.configure('port = 0\nsecret = "hunter2"\n[limits]\nbrust = 1\n')
    ended = operator.run(*command)
    assert (ended.code, ended.out) == (78, "")
    headline, *problems = ended.err.splitlines()
    assert headline == f"xmpprelay: {operator.config} has 3 mistakes; correct what follows:"
    assert [problem.split()[0] for problem in problems] == [
        "xmpp.port:",
        "xmpp.secret:",
        "limits.brust:",
    ]


@pytest.mark.parametrize(
    "command",
    [
        ["run"],
        ["migrate"],
        ["backup", "x"],
        ["restore", "x"],
        ["config", "check"],
        ["journal", "list"],
        ["journal", "trace", "1"],
        ["people", "list"],
        ["people", "export"],
        ["people", "import", "x"],
    ],
)
def test_a_missing_configuration_is_told_by_every_command(
    operator: Operator, command: list[str]
) -> None:
    operator.config.unlink()
    sentence = operator.run(*command).failed(78)
    assert sentence.startswith(f"There is no file {operator.config}: write one")
    sentence = operator.run(*command, "--config", "other.toml").failed(78)
    assert sentence.startswith("There is no file other.toml: ")


# ---- the database cannot be used ----

WITH_DATABASE = [
    ["migrate"],
    ["backup", "copy.db"],
    ["journal", "list"],
    ["journal", "trace", "1"],
    ["people", "list"],
    ["people", "export"],
]


@pytest.mark.parametrize("command", WITH_DATABASE)
def test_a_missing_database_is_told(operator: Operator, command: list[str]) -> None:
    sentence = operator.run(*command).failed()
    assert sentence.startswith(f"There is no database at {operator.database}: ")
    assert not operator.database.exists()


def test_a_missing_folder_is_told(operator: Operator) -> None:
    folder = operator.folder / "nothing"
    operator.configure(database=folder / "relay.db")
    people = operator.file("people.csv", PEOPLE)
    sentence = operator.run("people", "import", people).failed()
    assert sentence.startswith(f"There is no folder {folder}: make it")
    for command in WITH_DATABASE:
        assert "There is no " in operator.run(*command).failed()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_told(operator: Operator) -> None:
    people = operator.file("people.csv", PEOPLE)
    operator.folder.chmod(0o500)
    sentence = operator.run("people", "import", people).failed()
    operator.folder.chmod(0o700)
    assert sentence.startswith(f"The folder {operator.folder} cannot be written to")


@pytest.mark.parametrize("command", [*WITH_DATABASE, ["people", "import", "people.csv"]])
async def test_a_database_of_a_later_version_is_told(
    operator: Operator, command: list[str]
) -> None:
    await post(operator, "hello")
    operator.file("people.csv", PEOPLE)
    make_newer(operator)
    if command[0] == "backup":
        assert (await operator.run_beside(*command)).code == 0  # a copy of it does no harm
        return
    sentence = (await operator.run_beside(*command)).failed(65)
    assert "was made by a later version of xmpprelay: install that one." in sentence


@pytest.mark.parametrize("command", [*WITH_DATABASE, ["people", "import", "people.csv"]])
def test_another_programs_file_is_told(operator: Operator, command: list[str]) -> None:
    operator.file("people.csv", PEOPLE)
    operator.database.write_bytes(b"this is no database" * 1000)
    assert str(operator.database) in operator.run(*command).failed(65)


async def test_while_a_relay_has_the_database_nothing_else_writes(operator: Operator) -> None:
    operator.file("people.csv", PEOPLE)
    database = await Database.open(operator.url, now=now)
    (await operator.run_beside("backup", "copy.db")).worked()
    for command in (["migrate"], ["restore", "copy.db"], ["people", "import", "people.csv"]):
        assert (await operator.run_beside(*command)).failed()
    assert (await operator.run_beside("people", "list")).worked()
    await database.close()


# ---- journal ----


async def test_posts_are_listed_the_newest_first(operator: Operator) -> None:
    await post(operator, "one", "two", "three")
    out = (await operator.run_beside("journal", "list", "--limit", "2")).worked()
    assert out == (
        "id\taccepted\tauthor\tstate\ttext\n"
        "#3\t2026-05-04 12:00:00Z\talice@example.org\tout\tthree\n"
        "#2\t2026-05-04 12:00:00Z\talice@example.org\tout\ttwo\n"
    )


async def test_posts_are_listed_for_programs(operator: Operator) -> None:
    await post(operator, "one\ntwo \x1b[31m\x9b2J ä", open_lanes=("", "other.org"))
    out = (await operator.run_beside("journal", "list", "--json")).worked()
    assert out.isascii()
    assert json.loads(out) == {
        "id": "1",
        "number": 1,
        "accepted": "2026-05-04T12:00:00+00:00",
        "author": {"jid": "alice@example.org", "handle": None},
        "lang": None,
        "text": "one\ntwo \x1b[31m\x9b2J ä",
        "open_lanes": 2,
    }


async def test_nothing_in_a_post_reaches_the_terminal(operator: Operator) -> None:
    await post(operator, "one\ntwo \x1b[31m\x9b2J[bold]\u202e", open_lanes=("",))
    for command in (["journal", "list"], ["journal", "trace", "1"]):
        piped = (await operator.run_beside(*command)).worked()
        shown = await asyncio.to_thread(on_a_terminal, operator, *command)
        for text in (piped, shown):
            assert "one\\ntwo \\x1b[31m\\x9b2J[bold]\\u202e" in text
            assert "going out" in text
            assert "\x9b" not in text
            assert "\x1b[31m" not in text


@pytest.mark.parametrize("post_id", ["2", "#2", "2.abc123"])
async def test_a_post_is_traced(operator: Operator, post_id: str) -> None:
    await post(operator, "one", "two", open_lanes=("", "other.org"))
    lines = (await operator.run_beside("journal", "trace", post_id)).worked().splitlines()
    assert lines == [
        "post      #2, number 2",
        "author    alice@example.org",
        "accepted  2026-05-04 12:00:00Z",
        "language  not said",
        "text      two",
        "going out the server's own domains: confirmed up to person 0",
        "going out other.org: confirmed up to person 0",
        "waiting   0 followers who are away will get it on their return",
    ]
    out = (await operator.run_beside("journal", "trace", "--json", post_id)).worked()
    assert json.loads(out)["open_lanes"] == [
        {"lane": "", "confirmed_up_to": 0},
        {"lane": "other.org", "confirmed_up_to": 0},
    ]


@pytest.mark.parametrize("post_id", ["k3f", "#", "u u", "999999999999999", "--", "k3f.ABC"])
async def test_a_post_that_is_not_there_is_told(operator: Operator, post_id: str) -> None:
    await post(operator, "one")
    sentence = (await operator.run_beside("journal", "trace", "--", post_id)).failed()
    assert sentence.startswith(f'There is no post "{post_id}": `xmpprelay journal list` shows')


# ---- people ----


def test_a_tier_is_pinned_without_a_relay_and_stands_in_the_audit(operator: Operator) -> None:
    operator.run("people", "import", operator.file("people.csv", PEOPLE)).worked()
    assert operator.run("people", "tier", "@Bob", "outlet").worked() == "@bob: outlet\n"
    with sqlite3.connect(operator.database) as conn:
        assert conn.execute("SELECT value FROM setting WHERE name = 'tier'").fetchall() == [
            ("outlet",)
        ]
    assert "@bob outlet" in operator.run("audit").worked()
    assert operator.run("people", "tier", "bob", "auto").worked() == "@bob: auto\n"
    assert "There is no @nobody here" in operator.run("people", "tier", "nobody", "auto").failed()
    assert "'many'" in operator.run("people", "tier", "bob", "many").failed(2)


def test_people_are_imported_listed_and_exported_without_a_relay(operator: Operator) -> None:
    people = operator.file("people.csv", PEOPLE)
    out = operator.run("people", "import", people).worked()
    assert out == "4 people imported, with 4 new follows.\n"
    assert operator.run("people", "list").worked() == (
        "jid\thandle\tfollows\tfollowers\n"
        "alice@example.org\talice\t2\t2\n"
        "bob@example.org\tbob\t1\t1\n"
        "carol@other.org\tcarol\t0\t1\n"
        "dave@other.org\t\t1\t0\n"
    )
    first, *_ = operator.run("people", "list", "--json").worked().splitlines()
    assert json.loads(first) == {
        "jid": "alice@example.org",
        "handle": "alice",
        "follows": 2,
        "followers": 2,
    }
    assert operator.run("people", "export").worked() == PEOPLE
    exported = operator.folder / "exported.csv"
    assert operator.run("people", "export", exported).err == f"4 people are in {exported}.\n"
    assert exported.read_text() == PEOPLE
    sentence = operator.run("people", "export", exported).failed()
    assert sentence == f"{exported} is there already: name another file."
    out = operator.run("people", "import", exported).worked()
    assert out == "4 people imported, with 0 new follows.\n"


def test_more_people_than_one_step_takes_are_imported(operator: Operator) -> None:
    count = 5000
    rows = [f"u{n}@a.org,user_{n},user_{(n + 1) % count} user_{n}\n" for n in range(count)]
    people = operator.file("people.csv", "jid,handle,follows\n" + "".join(rows))
    out = operator.run("people", "import", people).worked()
    assert out == "5000 people imported, with 5000 new follows.\n"  # nobody follows himself


def test_a_file_with_mistakes_imports_nobody(operator: Operator) -> None:
    operator.run("people", "import", operator.file("people.csv", PEOPLE)).worked()
    operator.configure('home = "press"')
    wrong = "jid,handle,follows\nerin@a.org,alice,\nfay@a.org,press,zed\n\xff,,\n"
    ended = operator.run("people", "import", operator.file("wrong.csv", wrong.encode("latin-1")))
    assert (ended.code, ended.out) == (1, "")
    headline, *problems = ended.err.splitlines()
    assert headline.startswith("xmpprelay: Nothing was imported, since the file has 4 mistakes")
    assert [problem.split(":")[0] for problem in problems] == ["  line 2"] + ["  line 3"] * 2 + [
        "  line 4"
    ]
    assert operator.run("people", "export").worked() == PEOPLE


@pytest.mark.parametrize(
    ("file", "expected"), [("none.csv", "none.csv: No such file"), (".", ".: Is a directory")]
)
def test_a_file_that_cannot_be_read_is_told(operator: Operator, file: str, expected: str) -> None:
    assert operator.run("people", "import", file).failed().startswith(expected)
    assert not operator.database.exists()


class Relay:
    """What a running relay does with an import."""

    def __init__(self, operator: Operator, answer: Callable[[Request], Any]) -> None:
        self.rows: list[Any] = []
        socket = operator.database.with_name("relay.db.sock")
        self.server = ControlServer(socket, {"people.import": self._import})
        self._answer = answer

    async def _import(self, request: Request) -> Any:
        self.rows = list(request.rows)
        return self._answer(request)

    async def __aenter__(self) -> "Relay":
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()


def take_all(request: Request) -> Any:
    for done in range(len(request.rows)):
        request.progress(done, len(request.rows))
    return {"people": len(request.rows), "follows": 4}


def refuse(_request: Request) -> Any:
    raise Refused("The disk has no room: free some.")


async def test_a_running_relay_does_the_import_itself(operator: Operator) -> None:
    people = operator.file("people.csv", PEOPLE)
    async with Relay(operator, take_all) as relay:
        ended = await operator.run_beside("people", "import", people)
    assert ended.worked() == "4 people imported, with 4 new follows.\n"
    assert relay.rows == [
        ["alice@example.org", "alice", ["bob", "carol"]],
        ["bob@example.org", "bob", ["alice"]],
        ["carol@other.org", "carol", []],
        ["dave@other.org", None, ["alice"]],
    ]
    assert not list(operator.folder.glob("*.db"))


async def test_a_running_relays_refusal_is_told(operator: Operator) -> None:
    people = operator.file("people.csv", PEOPLE)
    async with Relay(operator, refuse):
        ended = await operator.run_beside("people", "import", people)
    assert ended.failed() == "The disk has no room: free some."


async def test_progress_is_shown_on_a_terminal_and_nowhere_else(operator: Operator) -> None:
    people = operator.file("people.csv", PEOPLE)
    async with Relay(operator, take_all):
        shown = await asyncio.to_thread(on_a_terminal, operator, "people", "import", people)
    assert "Importing" in shown
    assert re.search(r"4 people imported, with 4 new follows\.\r\n$", shown)


# ---- block, unblock, blocks, audit ----


def test_the_operator_blocks_without_a_relay(operator: Operator) -> None:
    operator.run("people", "import", operator.file("people.csv", PEOPLE)).worked()
    for target, jid in (
        ("@bob", "bob@example.org"),
        ("ALICE@relay.example.org", "alice@example.org"),
        ("Erin@Far.Example", "erin@far.example"),
        ("*.spam.org", "*.spam.org"),
        ("spam.org", "spam.org"),
    ):
        assert operator.run("block", target).worked() == f"{jid} is blocked now.\n"
    assert operator.run("block", "bob").worked() == "bob@example.org was blocked already.\n"
    out = operator.run("unblock", "*.spam.org").worked()
    assert out == "*.spam.org is not blocked any more.\n"
    out = operator.run("unblock", "*.spam.org").worked()
    assert out == "*.spam.org was not blocked; `xmpprelay blocks` lists who is.\n"
    blocks = operator.run("blocks", "--json").worked().splitlines()
    assert [json.loads(line)["target"] for line in blocks] == [
        "bob@example.org",
        "alice@example.org",
        "erin@far.example",
        "spam.org",
    ]
    assert operator.run("blocks").worked().startswith("target\tsince\nbob@example.org\t2")
    entries = [json.loads(line) for line in operator.run("audit", "--json").worked().splitlines()]
    assert [(each["action"], each["subject"]) for each in entries] == [
        ("unblock", "*.spam.org"),
        ("block", "spam.org"),
        ("block", "*.spam.org"),
        ("block", "erin@far.example"),
        ("block", "alice@example.org"),
        ("block", "bob@example.org"),
        ("people import", "4 people, 4 new follows"),
    ]
    assert {each["who"] for each in entries} == {"command line"}
    out = operator.run("audit", "--limit", "1").worked()
    assert re.fullmatch(r"time\twho\taction\tsubject\n2\S+Z\tcommand line\tunblock\t\S+\n", out)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("relay.example.org", "relay.example.org is this relay itself"),
        ("*.example.org", "*.example.org is this relay itself"),
        ("@nobody", "Nobody here has the handle @nobody"),
        ("home@relay.example.org", "Nobody here has the handle @home"),
        ("no body@example.org", "is not a bare JID such as alice@example.org"),
        ("bob@example.org/phone", "has a resource"),
        ("spam..org", "is not a domain name"),
        ("*.org.", "*.org is this relay itself"),
        ("*.*.org", "is not a domain name"),
        ("*@spam.org@", "is not a bare JID"),
        ("*.", "Name a person, such as @bob, or a domain"),
        ("", "Name a person, such as @bob, or a domain"),
    ],
)
def test_what_cannot_be_blocked_is_told(operator: Operator, target: str, reason: str) -> None:
    operator.run("people", "import", operator.file("people.csv", PEOPLE)).worked()
    assert reason in operator.run("block", target).failed()
    assert operator.run("blocks").worked() == "target\tsince\n"


async def test_a_restore_is_in_the_audit(operator: Operator) -> None:
    await post(operator, "one")
    (await operator.run_beside("backup", "copy.db")).worked()
    (await operator.run_beside("restore", "copy.db")).worked()
    out = (await operator.run_beside("audit", "--json")).worked()
    (entry,) = map(json.loads, out.splitlines())
    assert (entry["action"], Path(entry["subject"]).name) == ("restore", "copy.db")


# ---- migrate, backup, restore ----


async def test_a_backup_is_made_and_restored(operator: Operator) -> None:
    await post(operator, "one", "two")
    copy = operator.folder / "copy.db"
    out = (await operator.run_beside("backup", copy)).worked()
    assert out == f"The backup is in {copy}.\n"
    assert str(copy) in (await operator.run_beside("backup", copy)).failed()
    await post(operator, "three")
    out = (await operator.run_beside("restore", copy)).worked()
    first, second = out.splitlines()
    assert first == f"Restored 2 posts and 1 people from {copy}."
    assert second.startswith("The database that was there is now ")
    out = (await operator.run_beside("journal", "list")).worked()
    assert "three" not in out
    assert "two" in out


def test_a_backup_that_is_not_there_is_told(operator: Operator) -> None:
    assert "copy.db" in operator.run("restore", "copy.db").failed()


async def test_a_database_of_this_version_needs_no_migration(operator: Operator) -> None:
    await post(operator, "one")
    assert (await operator.run_beside("migrate")).worked().startswith("Nothing to do: ")
