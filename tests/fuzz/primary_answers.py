"""A fuzz target: whatever a primary service answers.

    python -m tests.fuzz.primary_answers CORPUS-FOLDER -max_total_time=600

The drivers are the real ones, and so is the HTTP between them and the service, which is a socket of
this machine. An input is a byte that says what is asked, and how to read the rest: as the bytes of
the answers, or as the choices that make answers out of a vocabulary. For each:

- one result comes, and nothing is raised;
- only what has an id is inserted, and what waits waits for a second at least and six hours at most;
- what is told is one line of at most 200 characters, without the token.
"""

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import atheris

with atheris.instrument_imports(include=["xmpprelay"]):
    from xmpprelay.core.primary import (
        Absent,
        Account,
        Attempt,
        CannotTell,
        File,
        Found,
        LookFailed,
        Outcome,
        Probe,
        Result,
        Status,
        Visibility,
    )
    from xmpprelay.primary.http import Http
    from xmpprelay.primary.mastodon import login
    from xmpprelay.primary.mastodon.driver import Mastodon
    from xmpprelay.primary.webhook import WebhookPrimary

TOKEN: Final = "t0ken-that-nobody-may-see"
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW: Final = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC)

STATUS: Final = Status(
    id="k3f.ab12cd",
    atom_id="tag:relay.example,2026:k3f.ab12cd",
    author="alice@example.org",
    handle="alice",
    text="Tea & <biscuits>, @bob@social.example?",
    published=NOW,
    language="en",
    in_reply_to="7",
    mentions=("bob@social.example",),
    media=("8",),
)
ATTEMPTS: Final = (
    Attempt(STATUS, NOW, NOW, "1"),
    Attempt(STATUS, NOW, NOW),
)
PICTURE: Final = File("cat.png", "image/png", b"\x89PNG\r\n\x1a\n")

CODES: Final = (
    200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 408, 409, 410, 413, 422, 429, 500,
    502, 503, 504, 100, 999,
)  # fmt: skip
HEADERS: Final = (
    "Retry-After", "X-RateLimit-Reset", "X-RateLimit-Remaining", "Date", "Content-Type",
    "Content-Length", "Transfer-Encoding", "Content-Encoding", "Location", "Set-Cookie",
    "Connection", "Link",
)  # fmt: skip
VALUES: Final = (
    "5", "0", "-1", "1e400", "99999999999999", "1795377600", "2026-11-22T20:01:00.000Z",
    "2026-11-22T20:01:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00",
    "Sun, 22 Nov 2026 20:01:00 GMT", "Sun, 22 Nov 20266 20:01:00 +9999", "gzip", "chunked", "close",
    "keep-alive", "application/json", "text/html; charset=x", "http://192.0.2.1/", "/", "a=b",
    '<http://x.example/?max_id=3>; rel="next"', "NaN", "",
)  # fmt: skip
KEYS: Final = (
    "id", "url", "uri", "created_at", "content", "visibility", "in_reply_to_id", "mentions", "acct",
    "application", "name", "text", "error", "error_description", "reblog", "poll", "spoiler_text",
    "configuration", "statuses", "max_characters", "characters_reserved_per_url",
    "media_attachments", "supported_mime_types", "image_size_limit", "version", "software", "links",
    "rel", "href", "client_id", "client_secret", "access_token", "username",
)  # fmt: skip
TEXTS: Final = (
    "1", "7", "..", "a/b?c#d", "", STATUS.text, f"<p>{STATUS.text}</p>", "<p>tea &amp; biscuits",
    "public", "private", "mastodon", "takahe", "gotosocial", "4.2.0", "xmpprelay", "another",
    "2026-11-22T20:00:00.000Z", "2026-13-01", "0001-01-01T00:00:00+14:00", "https://x.example/1",
    "https://[", "javascript:x", "http://nodeinfo.diaspora.software/ns/schema/2.0", TOKEN,
    f"The token {TOKEN} is wrong", "<script>x</script>", "\x00\x1b[31m\n\r", "\ud800", "image/png",
    "<div>" * 300, "a" * 5000, "bob@social.example",
)  # fmt: skip
NUMBERS: Final = (0, 1, -1, 500, 1 << 63, 1 << 80, 1.5, 1e308, True, None)

LISTED: Final = {
    "id": "9",
    "created_at": "2026-11-22T20:00:00.000Z",
    "content": "<p>Tea &amp; &lt;biscuits&gt;, @bob?</p>",
    "visibility": "public",
    "in_reply_to_id": "7",
    "application": {"name": "another"},
}
"""What a look takes for the post."""

SEEDS: Final = (
    (200, {"id": "1", "url": "https://x.example/1", "created_at": "2026-11-22T20:00:00.000Z"}),
    (200, [LISTED]),
    (422, {"error": "Text can't be blank"}),
    (429, {"error": "Too many requests"}),
    (503, {}),
)
BETWEEN: Final = b"\x00\xff\x00"
"""Between the answers to one request after another."""

ADDRESSES: Final = 64
"""An address cannot have more than some ten thousand connections a minute."""

MOST_DETAIL: Final = 200


# --- an input ------------------------------------------------------------------------------------


class Choices:
    """Bytes read as choices; when they are used up, every choice is the first."""

    def __init__(self, data: bytes) -> None:
        self._given = atheris.FuzzedDataProvider(data)

    def one_of(self, things: Sequence[Any]) -> Any:
        return things[self.up_to(len(things) - 1)]

    def up_to(self, most: int) -> int:
        return int(self._given.ConsumeIntInRange(0, most))

    def value(self, depth: int) -> Any:
        """Something that JSON has."""
        kind = self.up_to(5 if depth else 2)
        if kind == 0:
            return self.one_of(NUMBERS)
        if kind <= 2:
            return self.one_of(TEXTS)
        if kind == 3:
            return [self.value(depth - 1) for _ in range(self.up_to(3))]
        found = dict(LISTED) if kind == 4 and self.up_to(1) else {}
        found |= {self.one_of(KEYS): self.value(depth - 1) for _ in range(self.up_to(5))}
        return found

    def answer(self) -> bytes:
        code = self.one_of(CODES)
        form = self.up_to(9)
        if form < 8:
            body = json.dumps(self.value(3)).encode()
        elif form == 8:
            body = str(self.one_of(TEXTS)).encode("utf-8", "surrogatepass")
        else:
            body = b"[" * 100_000
        headers = "".join(
            f"{self.one_of(HEADERS)}: {self.one_of(VALUES)}\r\n" for _ in range(self.up_to(3))
        )
        return f"HTTP/1.1 {code} X\r\n{headers}\r\n".encode() + body


def answers_of(data: bytes) -> list[bytes]:
    """What the service answers, request after request; the last one to all that follow."""
    if data[0] & 1:
        return data[1:].split(BETWEEN)
    choices = Choices(data[1:])
    return [choices.answer() for _ in range(1 + choices.up_to(5))]


# --- what must be so -----------------------------------------------------------------------------


class Broken(AssertionError):
    """What the fuzzer looks for."""


class Bench:
    """The drivers, and a service for them."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._answers: list[bytes] = []
        self._inputs = 0

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "0.0.0.0", 0)
        port = self._server.sockets[0].getsockname()[1]
        self._bases = [f"http://127.0.0.{1 + n}:{port}" for n in range(ADDRESSES)]
        self._http = Http(self._bases)
        self._hooks = [WebhookPrimary(f"{base}/hook", SECRET) for base in self._bases]

    async def close(self) -> None:
        await self._http.aclose()
        for hook in self._hooks:
            await hook.aclose()
        self._server.close()

    def takes(self, data: bytes) -> None:
        if not data:
            return
        self._answers = answers_of(data)
        self._inputs += 1
        what = data[0] >> 1
        for each in self._runner.run(self._ask(what)):
            _check(each)
            if what % QUESTIONS < WITH_TOKEN and _shows_token(each):
                raise Broken(f"the token is shown: {each!r}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])
            writer.write_eof()
            await reader.read()
        writer.close()

    async def _ask(self, what: int) -> list[object]:
        base = self._bases[self._inputs % ADDRESSES]
        account = Account(1, base, TOKEN, "alice@social.example", "3")
        mastodon = Mastodon(self._http, self._bases, read_back=bool(what & 16))
        hook = self._hooks[self._inputs % ADDRESSES]
        hidden = Status(**{**_fields(STATUS), "visibility": Visibility.PRIVATE})
        match what % QUESTIONS:
            case 0:
                return [await mastodon.insert(account, STATUS, "key")]
            case 1:
                return [await mastodon.edit(account, "9", hidden, "key")]
            case 2:
                return [await mastodon.delete(account, "9")]
            case 3:
                return [await mastodon.upload(account, PICTURE)]
            case 4:
                return [await mastodon.probe(account)]
            case 5:
                return [await mastodon.reconcile(account, ATTEMPTS[0])]
            case 6:
                return [await mastodon.reconcile(account, ATTEMPTS[1])]
            case 7:
                return [
                    await login.register(self._http, base),
                    await login.exchange(self._http, base, login.Client("c", "s"), "code", "v"),
                ]
            case 8:
                await login.following(self._http, base, TOKEN, "3")
                return [await login.whose(self._http, base, TOKEN)]
            case 9:
                return [await mastodon.probe()]
            case 10:
                return [await hook.insert(account, STATUS, "key")]
            case 11:
                return [await hook.reconcile(account, ATTEMPTS[0]), await hook.probe()]
            case _:
                return [await hook.edit(account, "9", STATUS, "key")]


QUESTIONS: Final = 13
"""What `_ask` can ask."""

WITH_TOKEN: Final = 9
"""So many of them, the first, are asked with the token. The others' services were never told it: if
one says it, by chance, nobody can know it for a token."""


def _fields(status: Status) -> dict[str, Any]:
    return {name: getattr(status, name) for name in Status.__slots__}


def _check(found: object) -> None:
    match found:
        case LookFailed(result) | (Result() as result):
            if result.outcome is Outcome.INSERTED and not result.remote_id:
                raise Broken("inserted, and without an id")
            done = result.outcome in (Outcome.INSERTED, Outcome.DUPLICATE)
            if not done and not result.reason:
                raise Broken(f"{result.outcome} for no reason")
            _check_words(result.detail, result.retry_after_s)
        case Probe():
            _check_words(found.detail, found.retry_after_s)
        case Found(candidates):
            if not candidates:
                raise Broken("found, and nothing is")
        case Absent() | CannotTell() | login.Client() | login.Failed() | login.Who() | str():
            pass
        case _:
            raise Broken(f"it is {found!r}")


def _shows_token(found: object) -> bool:
    """Whether it is in what the driver says; ids and addresses are the service's own words."""
    if isinstance(found, Result):
        found = found.reason, found.detail
    return not isinstance(found, (str, Found, login.Who)) and TOKEN in repr(found)


def _check_words(detail: str, wait_s: float | None) -> None:
    if len(detail) > MOST_DETAIL or "\n" in detail or "\x1b" in detail:
        raise Broken(f"it is told: {detail!r}")
    if wait_s is not None and not 1.0 <= wait_s <= 6 * 3600.0:
        raise Broken(f"it waits for {wait_s} s")


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """The drivers, and an event loop to run them in."""
    with asyncio.Runner() as runner:
        made = Bench(runner)
        runner.run(made.listen())
        yield made
        runner.run(made.close())


def write_seeds(folder: Path) -> None:
    """The inputs that the fuzzer begins with."""
    for number, (code, body) in enumerate(SEEDS):
        answer = f"HTTP/1.1 {code} X\r\nRetry-After: 5\r\n\r\n".encode() + json.dumps(body).encode()
        (folder / f"raw-{number}").write_bytes(bytes([1 + 2 * number]) + answer)
        several = BETWEEN.join([b"HTTP/1.1 200 OK\r\n\r\n{}"] * 3 + [answer])
        (folder / f"several-{number}").write_bytes(bytes([1 + 2 * (4 + number % 3)]) + several)
    for number in range(QUESTIONS):
        (folder / f"choices-{number}").write_bytes(
            bytes([2 * number, *range(number, 240, number + 1)])
        )


def main() -> None:
    """Fuzz as the arguments say (libFuzzer's); ends the process. An empty corpus gets seeds."""
    for folder in (Path(each) for each in sys.argv[1:] if not each.startswith("-")):
        if folder.is_dir() and not any(folder.iterdir()):
            write_seeds(folder)
    logging.disable()
    with bench() as drivers:
        atheris.Setup(sys.argv, drivers.takes)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
