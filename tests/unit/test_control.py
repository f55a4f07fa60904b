"""The control socket: both ends of it, on a real Unix socket."""

import asyncio
import contextlib
import gc
import json
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from xmpprelay.control import (
    ControlError,
    ControlServer,
    ControlUnavailable,
    Handler,
    Request,
    call,
)
from xmpprelay.errors import ConfigError, Refused


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may be too long for a socket
        yield Path(folder) / "relay.db.sock"


@contextlib.asynccontextmanager
async def listening(path: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, handlers)
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, fault: faults.append(fault))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    gc.collect()  # a failure that nobody looked at is told when its task goes
    assert not faults


async def echo(request: Request) -> Any:
    return {"arguments": dict(request.arguments), "rows": list(request.rows)}


async def test_a_command_gets_its_arguments_and_gives_its_result(path: Path) -> None:
    async with listening(path, {"echo": echo}):
        answer = await call(path, "echo", {"who": "alice\nbob"})
    assert answer == {"arguments": {"who": "alice\nbob"}, "rows": []}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_only_the_owner_may_use_the_socket(path: Path) -> None:
    async with listening(path, {}):
        assert mode(path) == 0o600


async def test_many_rows_arrive_complete_and_in_order(path: Path) -> None:
    rows = [[f"user{number}@example.org", "x" * (number % 500)] for number in range(20_000)]
    async with listening(path, {"echo": echo}):
        answer = await call(path, "echo", rows=rows)
    assert answer["rows"] == rows


async def test_a_single_row_may_be_larger_than_a_chunk(path: Path) -> None:
    rows = [["alice", "f" * 3_000_000], ["bob", ""]]
    count: list[int] = []

    async def lengths(request: Request) -> Any:
        count.extend(len(row[1]) for row in request.rows)

    async with listening(path, {"lengths": lengths}):
        assert await call(path, "lengths", rows=rows) is None
    assert count == [3_000_000, 0]


async def test_progress_is_told_in_order_before_the_result(path: Path) -> None:
    async def work(request: Request) -> Any:
        for done in (1, 2, 3):
            request.progress(done, 3)
        return "done"

    seen: list[tuple[int, int]] = []
    async with listening(path, {"work": work}):
        result = await call(path, "work", on_progress=lambda done, of: seen.append((done, of)))
    assert result == "done"
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("error", "problems"),
    [
        (Refused("no @nobody here"), ()),
        (ConfigError("no", ["first", "second"]), ("first", "second")),
    ],
)
async def test_a_refusal_arrives_as_its_sentence(
    path: Path, error: Exception, problems: tuple[str, ...]
) -> None:
    async def refuse(_request: Request) -> Any:
        raise error

    async with listening(path, {"refuse": refuse}):
        with pytest.raises(ControlError) as caught:
            await call(path, "refuse")
    assert caught.value.sentence == str(error)
    assert caught.value.problems == problems


@pytest.mark.parametrize("error", [ValueError("private"), OSError(5, "private"), KeyError("x")])
async def test_a_fault_of_a_handler_is_told_without_its_words_and_ends_nothing(
    path: Path, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fail(_request: Request) -> Any:
        raise error

    async with listening(path, {"fail": fail, "echo": echo}):
        with pytest.raises(ControlError, match="its log says where") as caught:
            await call(path, "fail")
        assert "private" not in caught.value.sentence
        assert await call(path, "echo")
    assert "control.failed" in "".join(capfd.readouterr())


async def test_a_result_that_is_no_json_is_a_fault(path: Path) -> None:
    async def odd(_request: Request) -> Any:
        return object()

    async with listening(path, {"odd": odd}):
        with pytest.raises(ControlError, match="its log says where"):
            await call(path, "odd")


async def test_an_unknown_command_is_refused_before_its_rows_are_sent(path: Path) -> None:
    async with listening(path, {}):
        with pytest.raises(ControlError, match=r"does not know 'people\.import'"):
            await call(path, "people.import", rows=[["x" * 1_000_000]] * 5)


# ---- when nobody listens ----


async def test_no_socket_means_no_relay(path: Path) -> None:
    with pytest.raises(ControlUnavailable, match="xmpprelay run"):
        await call(path, "echo")


async def test_no_folder_means_no_relay(path: Path) -> None:
    with pytest.raises(ControlUnavailable):
        await call(path / "further" / "relay.sock", "echo")


def leave_a_stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


async def test_a_dead_relays_socket_means_no_relay(path: Path) -> None:
    leave_a_stale_socket(path)
    with pytest.raises(ControlUnavailable):
        await call(path, "echo")


async def test_a_dead_relays_socket_is_replaced(path: Path) -> None:
    leave_a_stale_socket(path)
    async with listening(path, {"echo": echo}):
        assert await call(path, "echo")


async def test_a_living_relays_socket_is_not(path: Path) -> None:
    async with listening(path, {"echo": echo}):
        with pytest.raises(ControlError, match="Another relay listens"):
            await ControlServer(path, {}).start()
        assert await call(path, "echo")


async def test_what_is_no_socket_and_in_the_way_is_left_alone(path: Path) -> None:
    with pytest.raises(ControlError, match="is no socket"):
        await ControlServer(path.parent, {}).start()
    assert mode(path.parent)


async def test_a_folder_that_is_not_there_is_told(path: Path) -> None:
    with pytest.raises(ControlError, match="No such file or directory"):
        await ControlServer(path / "further" / "relay.sock", {}).start()


async def test_a_name_too_long_for_a_socket_is_told(path: Path) -> None:
    long = path.parent / ("x" * 120)
    with pytest.raises(ControlError, match="shorter name"):
        await ControlServer(long, {}).start()
    with pytest.raises(ControlUnavailable):
        await call(long, "echo")


async def test_stopping_removes_the_socket(path: Path) -> None:
    async with listening(path, {}):
        pass
    assert not list(path.parent.iterdir())
    with pytest.raises(ControlUnavailable):
        await call(path, "echo")


async def test_stopping_ends_a_command_that_still_runs_and_its_client_is_told(path: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(_request: Request) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with listening(path, {"work": work}) as server:
        client = asyncio.create_task(call(path, "work"))
        await begun.wait()
        await server.stop()
        assert ended.is_set()
        with pytest.raises(ControlError, match="ended the connection"):
            await client


# ---- clients that misbehave ----


async def test_a_command_is_finished_although_its_client_has_gone(path: Path) -> None:
    begun, gone, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(request: Request) -> Any:
        begun.set()
        await gone.wait()
        request.progress(1, 2)
        finished.set()

    async with listening(path, {"work": work, "echo": echo}):
        client = asyncio.create_task(call(path, "work"))
        await begun.wait()
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
        gone.set()
        await finished.wait()
        assert await call(path, "echo")  # the loop has seen by now that nobody reads


async def exchange(path: Path, *lines: bytes) -> list[Any]:
    """What the relay answers to these bytes, line by line."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    for line in lines:
        writer.write(line)
    writer.write_eof()
    answers = [json.loads(line) async for line in reader]
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"GET / HTTP/1.1\r\n"], "no JSON"),
        ([b"[1, 2]\n"], "did not understand"),
        ([b'{"command": 3, "arguments": {}}\n'], "did not understand"),
        ([b'{"command": "echo"}\n'], "did not understand"),
        ([b"\xff\xfe\n"], "no JSON"),
        ([b"[" * 100_000 + b"\n"], "no JSON"),
        ([b'{"command": "echo", "argum'], "ended the connection"),
        ([b'{"command": "echo", "arguments": {}, "rows": -1}\n'], "at most"),
        ([b'{"command": "echo", "arguments": {}, "rows": 99999999999}\n'], "at most"),
        ([b'{"command": "echo", "arguments": {}, "rows": "3"}\n'], "at most"),
        ([b'{"command": "echo", "arguments": {}, "rows": 2}\n', b"[1,2,3]\n"], "other rows"),
        ([b'{"command": "echo", "arguments": {}, "rows": 2}\n', b"[]\n"], "other rows"),
        ([b'{"command": "echo", "arguments": {}, "rows": 2}\n', b"3\n"], "other rows"),
        ([b'{"command": "echo", "arguments": {}, "rows": 2}\n', b"[1]\n"], "ended the connection"),
    ],
)
async def test_nonsense_is_answered_with_a_sentence_and_ends_nothing(
    path: Path, lines: list[bytes], expected: str
) -> None:
    async with listening(path, {"echo": echo}):
        answers = await exchange(path, *lines)
        assert expected in answers[-1]["error"]
        assert await call(path, "echo")


async def test_a_line_without_end_ends_only_its_own_connection(path: Path) -> None:
    async with listening(path, {"echo": echo}):
        with contextlib.suppress(ConnectionError):  # the relay does not read the rest of it
            answers = await exchange(path, b"x" * (9 << 20))
            assert "too long" in answers[-1]["error"]
        assert await call(path, "echo")


async def test_more_connections_than_anybody_needs_are_refused(path: Path) -> None:
    async with listening(path, {"echo": echo}):
        idle = [await asyncio.open_unix_connection(str(path)) for _ in range(16)]
        with pytest.raises(ControlError, match="busy"):
            await call(path, "echo")
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()


async def test_a_relay_that_takes_no_connections_for_a_while_is_waited_for(path: Path) -> None:
    def takes_all(listener: socket.socket) -> None:
        while True:
            conn, _ = listener.accept()
            with conn, conn.makefile("rb") as lines:
                if lines.readline():
                    conn.sendall(b'{"result": "done"}\n')
                    return

    with contextlib.ExitStack() as ending:
        listener = ending.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(1)
        with contextlib.ExitStack() as programs, contextlib.suppress(BlockingIOError):
            for _ in range(100):
                program = programs.enter_context(socket.socket(socket.AF_UNIX))
                program.setblocking(False)
                program.connect(str(path))
            pytest.fail("its queue has no end")
        waits = asyncio.ensure_future(call(path, "echo"))
        await asyncio.sleep(0)  # it has tried once
        await asyncio.to_thread(takes_all, listener)
        assert await waits == "done"


@pytest.mark.parametrize(
    "answer", [b"hello\n", b"[]\n", b'{"progress": "x", "of": 2}\n', b'{"ready": false}\n', b""]
)
async def test_a_client_survives_a_relay_that_answers_nonsense(path: Path, answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(speak, str(path)):
        with pytest.raises(ControlError):
            await call(path, "echo")
