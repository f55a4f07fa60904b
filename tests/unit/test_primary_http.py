"""Requests: what comes back, what did not, and whether anything may have left; readings of answers.

The services are sockets on loopback that answer with bytes.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html import escape
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.html import html_to_text
from xmpprelay.core.primary import File, Outcome, Scope
from xmpprelay.errors import ConfigError
from xmpprelay.primary.answers import (
    MAX_WAIT_S,
    Answer,
    Failure,
    detail,
    detail_of,
    requests_left,
    retry_after_s,
    skew_s,
)
from xmpprelay.primary.http import MAX_ANSWER_BYTES, Http

NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\n{}"

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def request_head(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n\r\n")).decode()


@asynccontextmanager
async def service(talk: Conversation, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A service that has this conversation on each connection; its base URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http{'s' if tls else ''}://localhost:{port}"
    finally:
        server.close()


def says(answer: bytes) -> Conversation:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(answer)

    return talk


@asynccontextmanager
async def http(base: str, **options: object) -> AsyncIterator[Http]:
    client = Http([base], now=lambda: NOW, **options)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.aclose()


async def asked(talk: Conversation, **options: object) -> Answer | Failure:
    async with service(talk) as base, http(base, **options) as client:
        return await client.request("POST", base, "/x", json={"a": 1})


# --- requests ------------------------------------------------------------------------------------


async def test_an_answer_has_status_headers_and_body() -> None:
    answer = await asked(says(OK))
    assert answer == Answer(200, {"content-length": "2", "x-a": "1"}, b"{}", NOW)
    assert answer.json() == {}


async def test_what_is_asked_and_how() -> None:
    heads: list[str] = []
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request_head(reader))
        bodies.append(await reader.read(1000))
        writer.write(OK.replace(b"X-A: 1", b"Connection: close"))

    async with service(talk) as base, http(f"{base}/mount/") as client:
        await client.request(
            "POST",
            f"{base}/mount/",
            "/a%2Fb",
            query={"q": "a b&"},
            token="t0k",
            json={"text": "naïve"},
        )
        await client.request("POST", f"{base}/mount/", file=File("a.png", "image/png", b"PNG!"))
    assert heads[0].startswith("POST /mount/a%2Fb?q=a+b%26 HTTP/1.1\r\n")
    assert "Authorization: Bearer t0k\r\n" in heads[0]
    assert "User-Agent: xmpprelay/" in heads[0]
    assert "Accept-Encoding: identity\r\n" in heads[0]
    assert bodies[0] == b'{"text": "na\\u00efve"}'
    assert b'name="file"; filename="a.png"' in bodies[1]
    assert b"PNG!" in bodies[1]


async def test_nothing_is_asked_of_another_service() -> None:
    async with http("https://social.example") as client:
        failed = await client.request("GET", "https://elsewhere.example", "/")
    assert isinstance(failed, Failure)
    assert (failed.sent, failed.reason) == (False, "not_configured")


async def test_whatever_is_asked_is_counted() -> None:
    left: list[str] = []
    counts = {"leaves": lambda: left.append("one")}
    async with service(says(OK)) as base, http(base, **counts) as client:
        await client.request("GET", base)
        await client.request("POST", base, json={})
        await client.request("GET", "https://elsewhere.example")
    assert len(left) == 2


async def test_a_redirect_is_an_answer() -> None:
    answer = await asked(
        says(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n")
    )
    assert isinstance(answer, Answer)
    assert answer.status == 302


async def test_no_cookie_is_kept() -> None:
    heads: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request_head(reader))
        writer.write(b"HTTP/1.1 204 X\r\nSet-Cookie: a=b; Path=/\r\nConnection: close\r\n\r\n")

    async with service(talk) as base, http(base) as client:
        for _ in range(2):
            assert isinstance(await client.request("GET", base, "/"), Answer)
    assert ["Cookie" in head for head in heads] == [False, False]


async def test_an_answer_is_cut_where_it_is_too_long() -> None:
    cut = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n[")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" " * 65536)
                await writer.drain()
        cut.set()

    answer = await asked(talk)
    assert isinstance(answer, Answer)
    await cut.wait()
    assert len(answer.body) == MAX_ANSWER_BYTES
    assert answer.json() is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "reset"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}", "reset"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "bad_answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "bad_answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "bad_answer"),
    ],
)
async def test_what_fails_after_the_connection_stands_is_unclear(
    answer: bytes, reason: str
) -> None:
    failed = await asked(says(answer))
    assert isinstance(failed, Failure)
    assert (failed.sent, failed.reason) == (True, reason)
    assert failed.result().outcome is Outcome.UNKNOWN


async def test_silence_is_unclear() -> None:
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        await reader.read()
        gone.set()

    failed = await asked(talk, total_s=0.05)
    assert failed == Failure(True, "timeout", "localhost has not answered in time.")
    await gone.wait()


async def test_a_connection_that_was_used_before_counts_as_sent() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        await reader.readexactly(8)
        writer.write(OK)
        await request_head(reader)
        writer.transport.abort()

    async with service(talk) as base, http(base) as client:
        assert isinstance(await client.request("POST", base, json={"a": 1}), Answer)
        failed = await client.request("POST", base, json={"a": 1})
    assert isinstance(failed, Failure)
    assert failed.sent


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_a_request_is_sent_once(method: str) -> None:
    heads: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request_head(reader))
        writer.transport.abort()

    async with service(talk) as base, http(base) as client:
        failed = await client.request(method, base, "/x")
    assert failed == Failure(
        True, "reset", "localhost has closed the connection before it answered."
    )
    assert len(heads) == 1


async def test_nothing_has_left_where_nobody_listens() -> None:
    async with service(says(OK)) as base:
        pass
    async with http(base) as client:
        failed = await client.request("POST", base, json={})
    assert isinstance(failed, Failure)
    assert (failed.sent, failed.reason) == (False, "refused")
    result = failed.result()
    assert (result.outcome, result.scope) == (Outcome.RETRY, Scope.DRIVER)


async def test_nothing_has_left_without_a_name() -> None:
    base = "https://nobody.invalid"
    async with http(base) as client:
        failed = await client.request("POST", base, json={})
    assert isinstance(failed, Failure)
    assert (failed.sent, failed.reason) == (False, "dns")
    assert "nobody.invalid" in failed.detail


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_of(authority: trustme.CA, name: str) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(tls)
    return tls


async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    raise AssertionError("a request has come")


async def test_a_self_signed_certificate_is_told_with_what_to_do(authority: trustme.CA) -> None:
    async with service(never, tls_of(authority, "localhost")) as base, http(base) as client:
        failed = await client.request("POST", base, json={})
    assert isinstance(failed, Failure)
    assert (failed.sent, failed.reason) == (False, "tls")
    assert "primary.ca_file" in failed.detail
    assert "unable to get local issuer certificate" in failed.detail


async def test_the_authority_of_a_file_is_trusted(authority: trustme.CA, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    tls = tls_of(authority, "localhost")
    async with service(says(OK), tls) as base, http(base, ca_file=file) as client:
        assert isinstance(await client.request("POST", base, json={}), Answer)
    tls = tls_of(authority, "else.example")
    async with service(never, tls) as base, http(base, ca_file=file) as client:
        failed = await client.request("POST", base, json={})
    assert isinstance(failed, Failure)
    assert (failed.sent, failed.reason) == (False, "tls")


async def test_a_service_without_tls_gets_nothing() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with service(talk) as base:
        base = base.replace("http:", "https:")
        async with http(base) as client:
            failed = await client.request("POST", base, json={})
    assert isinstance(failed, Failure)
    assert (failed.sent, failed.reason) == (False, "tls")
    assert "does not speak TLS" in failed.detail


@pytest.mark.parametrize("content", [None, "no certificates"])
def test_a_wrong_file_of_certificates_is_a_mistake_of_the_configuration(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match="PEM"):
        Http(["https://social.example"], ca_file=file)


# --- headers -------------------------------------------------------------------------------------


def answer(body: bytes = b"", status: int = 429, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, body, NOW)


IN_90_S = NOW + timedelta(seconds=90)


@pytest.mark.parametrize(
    "value",
    [
        "90",
        " 90 ",
        "90.0",
        str(int(IN_90_S.timestamp())),
        str(int(IN_90_S.timestamp() * 1000)),
        "2026-11-22T20:01:30.000Z",
        "2026-11-22T21:01:30+01:00",
        "2026-11-22 20:01:30",
        format_datetime(IN_90_S, usegmt=True),
    ],
)
def test_every_form_of_a_reset_is_read(value: str) -> None:
    assert retry_after_s(answer(x_ratelimit_reset=value)) == 90.0
    assert retry_after_s(answer(retry_after=value)) == 90.0
    left = answer(x_ratelimit_remaining="7", x_ratelimit_reset=value)
    assert requests_left(left) == (7, 90.0)


def test_a_time_is_read_by_the_clock_of_the_service() -> None:
    ahead = NOW + timedelta(hours=1)
    late = answer(
        date=format_datetime(ahead, usegmt=True), x_ratelimit_reset="2026-11-22T21:01:30Z"
    )
    assert skew_s(late) == 3600.0
    assert retry_after_s(late) == 90.0
    assert skew_s(answer()) == 0.0


def test_a_wait_is_a_second_at_least_and_six_hours_at_most() -> None:
    for value in ("0", "2026-11-22T19:00:00Z", "1000000000"):
        assert retry_after_s(answer(x_ratelimit_reset=value)) == 1.0
    for value in ("999999", "2099-01-01T00:00:00Z"):
        assert retry_after_s(answer(retry_after=value)) == MAX_WAIT_S


def test_retry_after_goes_before_the_reset() -> None:
    assert retry_after_s(answer(retry_after="5", x_ratelimit_reset="90")) == 5.0
    assert retry_after_s(answer(retry_after="soon", x_ratelimit_reset="90")) == 90.0


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "1e9", "2026", "NaN", "inf", "2026-13-01", "٣"]
)
def test_what_is_no_time_is_none(value: str) -> None:
    assert retry_after_s(answer(retry_after=value)) == (2026.0 if value == "2026" else None)
    assert requests_left(answer(x_ratelimit_remaining=value))[1] is None


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_headers_never_raise(wait: str, reset: str, date: str) -> None:
    odd = answer(retry_after=wait, x_ratelimit_reset=reset, date=date, x_ratelimit_remaining=wait)
    waits = retry_after_s(odd)
    assert waits is None or 1.0 <= waits <= MAX_WAIT_S
    skew_s(odd)
    requests_left(odd)


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "Text can\'t be blank"}', "Text can't be blank"),
        (b'{"error": "invalid_grant", "error_description": "expired"}', "invalid_grant: expired"),
        (b"<html><title>502</title><body><h1>Bad Gateway</h1>nginx", "Bad Gateway nginx"),
        (b"<script>alert(1)</script>", "HTTP status 429"),
        (b'{"error": {"a": 1}}', "HTTP status 429"),
        (b'["a"]', "HTTP status 429"),
        (b'"no\\n\\u001b[31m"', "no [31m"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", "HTTP status 429"),
    ],
)  # fmt: skip
def test_what_a_service_says_is_told_in_plain_words(body: bytes, said: str) -> None:
    assert detail_of(answer(body)) == said


def test_no_token_is_told() -> None:
    assert detail("The access token s3cr3t is revoked", ["s3cr3t", ""]) == (
        "The access token … is revoked"
    )
    assert detail("Authorization: Bearer abc.def") == "Authorization: Bearer …"
    assert detail(f"key {'aB3_' * 10}!") == "key …!"


@given(st.text() | st.text("<>&;abp/!-\"' \n"))
def test_a_detail_is_one_short_line(text: str) -> None:
    line = detail(text * 20)
    assert len(line) <= 200
    assert line.isprintable() or "\u200e" in line or not line.isascii()
    assert "\n" not in line


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a<br>b</p><p>c</p>", "a\nb\n\nc"),
        ("a<br/>b", "a\nb"),
        ("1 &lt; 2 &amp;&amp; 3 &gt; 2 &#128578;", "1 < 2 && 3 > 2 🙂"),
        ("&lt;p&gt; is a tag", "<p> is a tag"),
        ("<p>x<script>bad()</script>y</p>", "xy"),
        (
            '<a href="https://x.example/a"><span class="invisible">https://</span>'
            '<span>x.example/a</span></a>',
            "https://x.example/a",
        ),
        ("a <b>bold</b> <unknown>b</unknown>", "a bold b"),
    ],
)  # fmt: skip
def test_html_as_text(html: str, text: str) -> None:
    assert html_to_text(html) == text


@given(st.text())
def test_escaped_text_comes_out_as_it_was(text: str) -> None:
    folded = " ".join(text.replace("\0", "").split())
    assert " ".join(html_to_text(f"<p>{escape(folded)}</p>").split()) == folded
