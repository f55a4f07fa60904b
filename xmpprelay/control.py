"""The control socket: how the command line speaks to a running relay.

A Unix socket beside the database, for its owner only (0600). One connection is one command, and
every line in either direction is one JSON object:

    client   {"command": "people.import", "arguments": {…}, "rows": 100000}
    relay    {"ready": true}                  only if rows are announced
    client   [row, row, …]                    as many lines as it takes for that many rows
    relay    {"progress": 500, "of": 100000}  as often as it likes
    relay    {"result": …}   or   {"error": "sentence", "problems": ["sentence", …]}

Rows travel in chunks, so that a long list never holds up the relay's loop for longer than it takes
to read one chunk. A command that has begun is finished, also when the client has gone.

This file knows nothing of the commands: `operating.py` gives the handlers, `cli/` calls them.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xmpprelay.errors import XmppRelayError
from xmpprelay.log import get_logger

_MAX_PATH_BYTES: Final = 107  # of a socket's name, in Linux (unix(7))
_MAX_LINE_BYTES: Final = 8 << 20  # one row of the longest list of follows still fits, many times
_MAX_ROWS: Final = 2_000_000  # twenty times what one import is made for
_CHUNK_ROWS: Final = 200
_CHUNK_BYTES: Final = 64 << 10  # about a millisecond to read
_MAX_CONNECTIONS: Final = 16  # a person and some scripts; more is a mistake
_MAX_UNREAD_BYTES: Final = 64 << 10  # progress that nobody reads is left out
_BUSY_WAIT_S: Final = 0.5  # for the request of somebody who is told to try again
_DIAL_AGAIN_S: Final = 0.1
_WAIT_S: Final = 30.0  # for the other side's next line, where it has nothing else to do

_log = get_logger("control")


class ControlError(XmppRelayError):
    """The relay did not do it; `problems` may have one sentence for each reason."""

    def __init__(self, sentence: str, problems: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.problems = tuple(problems)


class ControlUnavailable(ControlError):
    """No relay is running on this database."""


@dataclass(frozen=True, slots=True)
class Request:
    """One command, as its handler gets it."""

    arguments: Mapping[str, Any]
    rows: Sequence[Any]  # all of them; empty if the command has none
    progress: Callable[[int, int], None]  # tell the client: so many done, of so many


Handler = Callable[[Request], Awaitable[Any]]
"""Does a command and gives its result, plain enough for JSON, or raises XmppRelayError."""


class ControlServer:
    """Listens on `path` and hands each command to its handler."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self.path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. A socket that a dead relay left behind is replaced.

        Raises ControlError if the socket cannot be made, or another relay listens on it.
        """
        if len(os.fsencode(self.path)) > _MAX_PATH_BYTES:
            raise ControlError(
                f"The socket {self.path} would have a name of more than {_MAX_PATH_BYTES} bytes, "
                "which the system does not allow: put the database into a folder with a shorter "
                "name."
            )
        _remove_stale(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self.path))
            self.path.chmod(0o600)  # before it listens: until then nobody can connect
            self._server = await asyncio.start_unix_server(
                self._connected, sock=listener, limit=_MAX_LINE_BYTES
            )
        except OSError as error:
            listener.close()
            raise ControlError(
                f"The socket {self.path} cannot be made ({os.strerror(error.errno or 0)}): let the "
                "relay's user write to that folder."
            ) from error

    async def stop(self) -> None:
        """Stop listening, end what is still running, and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        self.path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for mypy; asyncio runs this in a task
        self._connections.add(task)
        try:
            answer = await self._answer(reader, writer)
            writer.write(answer)
            async with asyncio.timeout(_WAIT_S):
                await writer.drain()
        except OSError:
            pass  # the client has gone, or does not read; what it asked for is done all the same
        except asyncio.CancelledError:
            pass  # by `stop`; asyncio would report it as a fault of this task
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """The last line for one connection, a result or an error; OSError: the client has gone."""
        try:
            command, request = await self._read_request(reader, writer)
            return await self._carry_out(command, request)
        except XmppRelayError as error:
            problems = list(getattr(error, "problems", ()))
            return _line({"error": error.sentence, "problems": problems})

    async def _carry_out(self, command: str, request: Request) -> bytes:
        try:
            return _line({"result": await self._handlers[command](request)})
        except XmppRelayError:
            raise
        except Exception as error:  # noqa: BLE001 - the top of this connection's loop
            _log.error("control.failed", command=command, exc_info=error)
            raise ControlError("The relay failed at this command; its log says where.") from None

    async def _read_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, Request]:
        if len(self._connections) > _MAX_CONNECTIONS:
            # What is closed with something unread loses the answer.
            with suppress(TimeoutError, ControlError):
                async with asyncio.timeout(_BUSY_WAIT_S):
                    await _next_line(reader)
            raise _busy()
        line = await _next_line(reader)
        match line:
            case {"command": str(command), "arguments": dict(arguments)}:
                announced = line.get("rows", 0)
            case _:
                raise ControlError("The relay did not understand: use its own command line.")
        if command not in self._handlers:
            raise ControlError(
                f"The running relay does not know {command!r}: it is of another version than this "
                "command line; restart it."
            )
        rows = await _read_rows(announced, reader, writer)

        def progress(done: int, of: int) -> None:
            if writer.transport.get_write_buffer_size() < _MAX_UNREAD_BYTES:
                writer.write(_line({"progress": done, "of": of}))

        return command, Request(arguments, rows, progress)


async def call(
    path: Path,
    command: str,
    arguments: Mapping[str, Any] | None = None,
    rows: Sequence[Any] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> Any:
    """The result of a command that the relay at `path` carries out.

    `rows` is for what may be long. Raises ControlUnavailable if no relay listens there, and
    ControlError with the relay's own sentence if it refuses. After any other ControlError, or a
    cancellation, the command may or may not have been carried out.
    """
    reader, writer = await _connect(path)
    try:
        request = {"command": command, "arguments": dict(arguments or {}), "rows": len(rows or ())}
        writer.write(_line(request))
        while True:
            match await _next_line(reader, wait_s=None):
                case {"ready": True}:
                    await _send_rows(writer, rows or ())
                case {"progress": int(done), "of": int(of)}:
                    on_progress(done, of)
                case {"result": result}:
                    return result
                case {"error": str(sentence), "problems": [*problems]}:
                    raise ControlError(sentence, [str(problem) for problem in problems])
                case _:
                    raise ControlError("The relay answered nonsense: restart it.")
    except OSError as error:
        raise _gone() from error
    finally:
        writer.close()


async def _connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    nobody = ControlUnavailable(f"No relay is running on {path}: start it with `xmpprelay run`.")
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise nobody  # none can listen on such a name
    try:
        with ExitStack() as failing:
            sock = failing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            await _dial(sock, path)
            made = await asyncio.open_unix_connection(sock=sock, limit=_MAX_LINE_BYTES)
            failing.pop_all()
            return made
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise nobody from None
    except OSError as error:
        raise ControlError(
            f"The relay's socket {path} cannot be used ({os.strerror(error.errno or 0)}): run this "
            "as the relay's user."
        ) from None


async def _dial(sock: socket.socket, path: Path) -> None:
    """Connect; a relay whose queue of connections is full is tried again for some time.

    asyncio takes that (EAGAIN, unix(7)) for a connection that is under way, which it is not.
    """
    sock.setblocking(False)
    ends_at = time.monotonic() + _WAIT_S
    while True:
        try:
            sock.connect(str(path))
        except BlockingIOError:
            if time.monotonic() > ends_at:
                raise _busy() from None
            await asyncio.sleep(_DIAL_AGAIN_S)
        else:
            return


def _busy() -> ControlError:
    return ControlError("The relay is busy with other commands: try again in a moment.")


def _remove_stale(path: Path) -> None:
    """Remove a socket on which nobody listens any more."""
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise ControlError(f"{path} is no socket, and in the relay's way: move it elsewhere.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            with suppress(OSError):  # if it cannot be removed, binding tells
                path.unlink(missing_ok=True)
            return
    raise ControlError(f"Another relay listens on {path}: stop it first.")


def _line(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"


async def _next_line(reader: asyncio.StreamReader, wait_s: float | None = _WAIT_S) -> Any:
    """The other side's next line; ControlError if there is none, or it is no JSON."""
    try:
        async with asyncio.timeout(wait_s):
            line = await reader.readline()
        if line.endswith(b"\n"):
            return json.loads(line)
    except TimeoutError:
        raise ControlError("Nothing came for too long a time: try again.") from None
    except (ValueError, RecursionError):
        raise ControlError(
            "A line was no JSON, or too long: use the relay's own version."
        ) from None
    raise _gone()


def _gone() -> ControlError:
    return ControlError(
        "The relay ended the connection before it answered: see whether it still runs, and whether "
        "this was done, before you try again."
    )


async def _read_rows(
    announced: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> list[Any]:
    if not isinstance(announced, int) or not 0 <= announced <= _MAX_ROWS:
        raise ControlError(f"The relay takes at most {_MAX_ROWS} rows at once: make it several.")
    rows: list[Any] = []
    if announced:
        writer.write(_line({"ready": True}))
    while len(rows) < announced:
        chunk = await _next_line(reader)
        if not isinstance(chunk, list) or not chunk or len(rows) + len(chunk) > announced:
            raise ControlError("The relay got other rows than announced: try again.")
        rows += chunk
    return rows


async def _send_rows(writer: asyncio.StreamWriter, rows: Sequence[Any]) -> None:
    for chunk in _chunks(rows):
        writer.write(b"[" + b",".join(chunk) + b"]\n")
        await writer.drain()


def _chunks(rows: Sequence[Any]) -> Iterator[list[bytes]]:
    """The rows as JSON, in lists that are neither long nor large."""
    chunk: list[bytes] = []
    size_bytes = 0
    for row in rows:
        chunk.append(json.dumps(row).encode())
        size_bytes += len(chunk[-1])
        if len(chunk) >= _CHUNK_ROWS or size_bytes >= _CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk
