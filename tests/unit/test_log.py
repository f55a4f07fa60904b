"""What may and what may not get into the log."""

import asyncio
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import slixmpp
import structlog
from hypothesis import given
from hypothesis import strategies as st
from slixmpp.xmlstream import ET

from xmpprelay import log
from xmpprelay.errors import RelayError, StoreError

PRIVATE_WORDS = "meet me at the old mill"


class Output(io.StringIO):
    """A stream that may say it is a terminal."""

    def __init__(self, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def lines(self) -> list[str]:
        text = self.getvalue()
        assert text.endswith("\n")
        return text[:-1].split("\n")

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    structlog.reset_defaults()


@pytest.fixture
def out() -> Output:
    output = Output()
    log.configure("debug", "auto", output)
    return output


def test_an_event_is_one_json_object_with_its_keys(out: Output) -> None:
    log.get_logger("journal").info("post.accepted", post="k3f", author_id=17, waited_ms=2.5)
    (event,) = out.events()
    assert event.pop("timestamp")
    assert event == {
        "event": "post.accepted",
        "level": "info",
        "room": "journal",
        "post": "k3f",
        "author_id": 17,
        "waited_ms": 2.5,
    }


def test_auto_is_readable_on_a_terminal() -> None:
    output = Output(terminal=True)
    log.configure("info", "auto", output)
    log.get_logger("journal").info("post.accepted", post="k3f")
    (line,) = output.lines()
    assert "post.accepted" in line
    assert not line.startswith("{")


def test_json_may_be_wanted_on_a_terminal_too() -> None:
    output = Output(terminal=True)
    log.configure("info", "json", output)
    log.get_logger("journal").info("post.accepted")
    assert output.events()[0]["event"] == "post.accepted"


def test_no_colours_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    output = Output(terminal=True)
    log.configure("info", "auto", output)
    log.get_logger("journal").info("post.accepted")
    assert "\x1b" not in output.getvalue()


def test_events_below_the_level_are_left_out() -> None:
    output = Output()
    log.configure("warning", "json", output)
    log.get_logger("journal").info("post.accepted")
    log.get_logger("journal").warning("disk.full")
    assert [event["event"] for event in output.events()] == ["disk.full"]


texts = st.text(max_size=60) | st.sampled_from(
    ["a\nb", "\x1b[31mred\x1b[0m", "\r\n", "\u2028", "\u202eabc", "\x85", "\ud800", "\x9b2J"]
)


@given(texts, texts, st.sampled_from(["json", "console"]))
def test_whatever_is_in_a_value_the_event_is_one_printable_line(
    value: str, name: str, form: str
) -> None:
    output = Output()
    log.configure("info", form, output)
    keys = {"jid": value, f"k{name}": value, "several": [value, {name: value}]}
    log.get_logger("journal").info(f"event {value}".replace("%", ""), **keys)
    (line,) = output.lines()
    assert line.isprintable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_is_valid_whatever_is_logged(value: object) -> None:
    output = Output()
    log.configure("info", "json", output)
    log.get_logger("journal").info("event", value=value, huge=10**5000, odd=object())

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    (line,) = output.lines()
    assert json.loads(line, parse_constant=refuse)["odd"] == "<object>"


@pytest.mark.parametrize("name", ["body", "text", "xml", "secret", "token", "Password"])
def test_values_under_private_names_are_withheld(out: Output, name: str) -> None:
    log.get_logger("relay").info("event", **{name: PRIVATE_WORDS, "nested": {name: PRIVATE_WORDS}})
    assert PRIVATE_WORDS not in out.getvalue()
    assert out.events()[0][name] == log.WITHHELD


def test_of_an_object_only_the_type_is_written(out: Output) -> None:
    class Post:
        def __repr__(self) -> str:
            return PRIVATE_WORDS

    log.get_logger("relay").info("event", post=Post(), posts=[Post()], raw_bytes=b"abc")
    (event,) = out.events()
    assert event["post"] == "<Post>"
    assert event["posts"] == ["<Post>"]
    assert event["raw_bytes"] == "<bytes>"


def test_an_exception_is_written_without_its_words(out: Output) -> None:
    try:
        try:
            int(PRIVATE_WORDS)
        except ValueError as error:
            raise KeyError(PRIVATE_WORDS) from error
    except KeyError:
        log.get_logger("relay").exception("loop.failed")
    assert PRIVATE_WORDS not in out.getvalue()
    (event,) = out.events()
    assert event["level"] == "error"
    assert str(event["error"]).startswith("KeyError (unit/test_log.py:")
    assert " < ValueError (unit/test_log.py:" in str(event["error"])
    assert "test_an_exception_is_written_without_its_words" in str(event["trace"])


def test_every_member_of_a_group_of_exceptions_is_named(out: Output) -> None:
    group = ExceptionGroup(PRIVATE_WORDS, [ValueError(PRIVATE_WORDS), KeyError(PRIVATE_WORDS)])
    log.get_logger("relay").error("loop.failed", exc_info=group)
    assert out.events()[0]["error"] == "ExceptionGroup < ValueError < KeyError"


def test_our_own_sentences_and_the_systems_are_kept(out: Output) -> None:
    log.get_logger("store").error("a", exc_info=StoreError("free some room on the disk"))
    log.get_logger("store").error("b", exc_info=OSError(28, PRIVATE_WORDS, PRIVATE_WORDS))
    log.get_logger("store").error("c", exc_info=RelayError(f"no @{PRIVATE_WORDS} here"))
    assert [event["error"] for event in out.events()] == [
        "StoreError: free some room on the disk",
        "OSError: ENOSPC No space left on device",
        "RelayError",
    ]


def test_a_ring_of_causes_ends(out: Output) -> None:
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one
    log.get_logger("relay").error("event", exc_info=one)
    assert out.events()[0]["error"] == "ValueError < KeyError"


class FullDisk(Output):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("output", [FullDisk(), Output()])
def test_logging_never_fails(output: Output) -> None:
    log.configure("info", "json", output)
    output.close()
    log.get_logger("journal").info("post.accepted")
    logging.getLogger("slixmpp").error("Parse error: %r", b"")


# ---- libraries (T18) ----


def test_of_a_librarys_record_the_template_is_kept_and_no_argument(out: Output) -> None:
    logging.getLogger("slixmpp.xmlstream.xmlstream").error("Parse error: %r", PRIVATE_WORDS)
    assert PRIVATE_WORDS not in out.getvalue()
    (event,) = out.events()
    assert event["event"] == "library"
    assert event["library"] == "slixmpp.xmlstream.xmlstream"
    assert event["words"] == "Parse error: %r"
    assert "test_log.py" in str(event["place"])


@pytest.mark.parametrize(
    "message", [f"Unable to parse: {PRIVATE_WORDS}", ValueError(PRIVATE_WORDS), [PRIVATE_WORDS]]
)
def test_words_that_are_put_together_already_are_not_kept(out: Output, message: object) -> None:
    logging.getLogger("slixmpp.plugins.xep_0455.sos").error(message)
    logging.error(message)  # noqa: LOG015 - slixmpp logs to the root logger here and there
    assert PRIVATE_WORDS not in out.getvalue()
    assert [event["words"] for event in out.events()] == [None, None]


def test_libraries_are_heard_from_warning_on(out: Output) -> None:
    chatty = logging.getLogger("slixmpp.chatty")
    chatty.setLevel(logging.DEBUG)
    chatty.debug("RECV: %s", PRIVATE_WORDS)
    chatty.info("seen")
    assert out.getvalue() == ""
    chatty.warning("heard: %s", 1)
    assert out.events()[0]["words"] == "heard: %s"


def test_an_exception_of_a_library_is_written_without_its_words(out: Output) -> None:
    try:
        raise ET.ParseError(PRIVATE_WORDS)
    except ET.ParseError:
        logging.getLogger("slixmpp").exception("Unable to parse stanza: %s,\n%s", 1, PRIVATE_WORDS)
    assert PRIVATE_WORDS not in out.getvalue()
    (event,) = out.events()
    assert str(event["error"]).startswith("ParseError")
    assert event["words"] == "Unable to parse stanza: %s,\\n%s"


async def test_asyncio_tells_which_callback_failed_but_not_with_what(out: Output) -> None:
    failed = asyncio.Event()

    def callback(words: str) -> None:
        asyncio.get_running_loop().call_soon(failed.set)
        raise ValueError(words)

    asyncio.get_running_loop().call_soon(callback, PRIVATE_WORDS)
    await failed.wait()
    assert PRIVATE_WORDS not in out.getvalue()
    (event,) = out.events()
    assert event["library"] == "asyncio"
    assert "Exception in callback" in str(event["words"])
    assert str(event["error"]).startswith("ValueError")


def test_of_a_warning_the_kind_is_kept(out: Output) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log.configure("info", "json", out)
        warnings.warn(f"never awaited: {PRIVATE_WORDS}", RuntimeWarning, stacklevel=1)
    assert PRIVATE_WORDS not in out.getvalue()
    assert out.events()[0]["words"] == "RuntimeWarning"


def test_what_nobody_caught_is_an_event_too(out: Output) -> None:
    sys.excepthook(ValueError, ValueError(PRIVATE_WORDS), None)
    thread = threading.Thread(target=lambda: int(PRIVATE_WORDS))
    thread.start()
    thread.join()
    assert PRIVATE_WORDS not in out.getvalue()
    assert [(event["event"], event["level"]) for event in out.events()] == [
        ("uncaught", "critical"),
        ("uncaught", "critical"),
    ]


class Stream(slixmpp.ComponentXMPP):
    """A component whose stream is fed by hand."""

    def __init__(self) -> None:
        super().__init__("relay.example.org", "s3cret", "127.0.0.1", 5347)
        self.init_parser()
        self.ended = False
        self.data_received(
            b"<stream:stream xmlns='jabber:component:accept' id='1'"
            b" xmlns:stream='http://etherx.jabber.org/streams'>"
        )

    def disconnect(self, *_args: object, **_kwargs: object) -> None:  # type: ignore[override]
        self.ended = True


STANZA = f"<message from='a@b' to='c@d'><body>{PRIVATE_WORDS}</body>"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (f"{STANZA}</wrong>", "Parse error: %r"),
        (f"{STANZA.replace('a@b', '@@@')}</message>", None),
    ],
)
async def test_malformed_xml_from_the_server_leaves_no_words(
    out: Output, data: str, expected: str | None
) -> None:
    stream = Stream()
    stream.add_event_handler("message", lambda message: message["from"])
    stream.data_received(data.encode())
    assert PRIVATE_WORDS not in out.getvalue()
    if expected:
        assert expected in [event["words"] for event in out.events()]


async def test_a_handler_that_fails_on_a_stanza_leaves_no_words(out: Output) -> None:
    stream = Stream()

    def fail(message: slixmpp.Message) -> None:
        raise ValueError(f"cannot use {message}")

    stream.add_event_handler("message", fail)
    stream.data_received(f"{STANZA}</message>".encode())
    assert PRIVATE_WORDS not in out.getvalue()
    assert out.events()


async def test_a_stanza_that_cannot_be_built_leaves_no_words(out: Output) -> None:
    class Fails(slixmpp.Message):
        def setup(self, xml: ET.Element | None = None) -> bool:
            assert xml is not None
            raise ValueError(ET.tostring(xml))

    stream = Stream()
    stream.remove_stanza(slixmpp.Message)
    stream.register_stanza(Fails)
    stream.data_received(f"{STANZA}</message>".encode())
    assert PRIVATE_WORDS not in out.getvalue()
    assert out.events()[0]["words"] == "Unable to parse stanza: %s,\\n%s"


async def test_a_filter_that_fails_on_the_way_out_leaves_no_words(out: Output) -> None:
    stream = Stream()
    stream._session_started = True
    written = asyncio.Event()

    def fail(stanza: slixmpp.Message) -> slixmpp.Message:
        asyncio.get_running_loop().call_soon(written.set)
        raise ValueError(str(stanza))

    stream.add_filter("out", fail)
    task = asyncio.ensure_future(stream.run_filters())
    stream.make_message("c@d", PRIVATE_WORDS).send()
    await written.wait()
    task.cancel()
    assert PRIVATE_WORDS not in out.getvalue()
    assert str(out.events()[0]["error"]).startswith("ValueError")


def test_paths_are_written(out: Output) -> None:
    log.get_logger("store").info("store.opened", path=Path("/var/lib/relay.db"))
    assert out.events()[0]["path"] == "/var/lib/relay.db"
