"""What the relay writes about itself: events with keys, one line each, on standard error.

    log = get_logger("journal")
    log.info("post.accepted", post="k3f", author_id=17, waited_ms=2.1)

A line is JSON, or for reading where standard error is a terminal. Three promises hold whatever is
logged, since logs are read by people and machines that must not learn what was said:

- **One line an event.** Line breaks, ANSI sequences and all else that does not print are written as
  escapes, in keys as well as in values.
- **No post, no stanza, no secret.** Values under names such as `text` or `secret` are withheld, and
  of objects only the type is written, since a `Post` holds its text. An exception is written as its
  types and places in the code: its own words may quote what it choked on. Only our own sentences
  (store, stream, configuration) and the system's (`OSError`) are kept.
- **Libraries are not trusted.** slixmpp logs stanzas as arguments ("Parse error: %r"), SQLAlchemy
  its parameters, asyncio the arguments of callbacks. Of their records, WARNING and above, the place
  and the constant words are kept, no argument.

Writing never fails: on a full disk or a closed pipe the line is lost, not the post.
"""

import logging
import math
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import date
from errno import errorcode
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, TextIO, cast

import structlog

from xmpprelay.errors import RelayError, XmppRelayError

Logger = structlog.typing.FilteringBoundLogger

WITHHELD: Final = "<withheld>"
_PRIVATE: Final = re.compile(
    "answer|args|body|content|data|draft|line|message|parameters|password|payload|raw|reply|secret"
    "|stanza|text|token|xml",
    re.IGNORECASE,
)
_MOST_CHARS: Final = 1000  # of one value; a longer one is a mistake, and lines should stay readable
_MOST_ITEMS: Final = 50  # likewise, of a list
_MOST_DEPTH: Final = 4  # likewise, of lists in lists
_MOST_FRAMES: Final = 20  # innermost of a traceback; what is further out is the loop and the start
_ARGUMENT_BEGINS: Final = "(<[{'\"\n"  # what may be an argument in the words of asyncio


def configure(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Write from now on to `stream` (standard error), events of `level` and above.

    `form` is `json`, `console`, or `auto`: console if the stream is a terminal. Takes over the
    standard library's logging, warnings, and exceptions that nobody caught. May be called again.
    """
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_contents,
            _console(out) if console else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [_FromLibraries(logging.WARNING)]
    root.setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_value)
    sys.unraisablehook = lambda args: _log_uncaught(args.exc_value)


def get_logger(room: str) -> Logger:
    """The logger of a room; what it logs has `room` among its keys."""
    return cast(Logger, structlog.get_logger(room=room))


def one_line(text: str) -> str:
    """The text with everything that does not print, and the backslash, written as escapes."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode()
        for char in text
    )


class _Lines:
    """The end of every event: one line to the stream, or nothing if the stream fails."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            pass  # a full disk, a closed pipe: there is nowhere to say so

    debug = info = warning = error = critical = exception = log = msg


def _console(out: TextIO) -> structlog.typing.Processor:
    colors = out.isatty() and "NO_COLOR" not in os.environ
    return structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24)


def _without_contents(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The event with nothing in it but plain values, cleaned, and none of somebody's words."""
    failure = _failure(event.pop("exc_info", None))
    event.pop("stack_info", None)
    first = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    clean = {one_line(key): _clean(key, value) for key, value in (first | dict(event)).items()}
    if failure is not None:
        clean |= _told(failure)
    return clean


def _failure(exc_info: object) -> BaseException | None:
    """The exception meant by any of the forms of `exc_info`; None if there is none."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return cast(BaseException | None, exc_info[1])
    return sys.exc_info()[1] if exc_info else None


def _clean(key: str, value: object, depth: int = 0) -> Any:
    """A value as it may be logged: plain, printable, not too long, nobody's words."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= 64 else "<int>"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if _PRIVATE.fullmatch(key):
        return WITHHELD
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | PurePath):
        text = str(value)
        return one_line(text if len(text) <= _MOST_CHARS else text[:_MOST_CHARS] + "…")
    if isinstance(value, Mapping) and depth < _MOST_DEPTH:
        pairs = [(str(name), item) for name, item in value.items()][:_MOST_ITEMS]
        return {one_line(name): _clean(name, item, depth + 1) for name, item in pairs}
    if isinstance(value, list | tuple | set | frozenset) and depth < _MOST_DEPTH:
        return [_clean(key, item, depth + 1) for item in list(value)[:_MOST_ITEMS]]
    return f"<{type(value).__name__}>"


def _told(failure: BaseException) -> dict[str, str]:
    """What may be known of an exception: types and causes, and where in the code it happened."""
    return {
        "error": one_line(" < ".join(_names(failure))),
        "trace": one_line(" < ".join(_places(failure))),
    }


def _names(failure: BaseException) -> Iterator[str]:
    """The exception and what caused it, outermost first: its type, safe words and place."""
    seen: set[int] = set()
    current: BaseException | None = failure
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        words = _safe_words(current)
        name = f"{type(current).__name__}: {words}" if words else type(current).__name__
        place = next(_places(current), None)
        yield f"{name} ({place})" if place else name
        if isinstance(current, BaseExceptionGroup):
            for member in current.exceptions[:_MOST_ITEMS]:
                yield from _names(member)
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)


def _safe_words(failure: BaseException) -> str:
    """The exception's text if it is certain to quote nobody, else nothing."""
    if isinstance(failure, XmppRelayError) and not isinstance(failure, RelayError):
        return failure.sentence
    if isinstance(failure, OSError) and failure.errno is not None and failure.errno in errorcode:
        return f"{errorcode[failure.errno]} {os.strerror(failure.errno)}"
    return ""


def _places(failure: BaseException) -> Iterator[str]:
    """Where it happened, innermost first: `xmpprelay/journal.py:88 commit`."""
    for frame in reversed(traceback.extract_tb(failure.__traceback__)[-_MOST_FRAMES:]):
        file = "/".join(PurePath(frame.filename).parts[-2:])
        yield f"{file}:{frame.lineno} {frame.name}"


class _FromLibraries(logging.Handler):
    """Passes on what libraries log, without what they put into it (T18)."""

    def emit(self, record: logging.LogRecord) -> None:
        """One event `library` for the record."""
        level = min(record.levelno // 10 * 10, logging.CRITICAL)
        place = f"{record.module}.py:{record.lineno} {record.funcName}"
        keys = {"library": record.name, "place": place, "words": _constant_words(record)}
        get_logger("library").log(level, "library", exc_info=record.exc_info, **keys)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Never print the record, as the library would."""


def _constant_words(record: logging.LogRecord) -> str | None:
    """The words of a record that stand in the library's code, without any argument.

    A template is constant only where arguments are given separately. Else the words may be put
    together already, and none are kept; but those of asyncio up to what may be an argument, and of
    a warning its kind.
    """
    if not isinstance(record.msg, str):
        return None
    if record.name == "py.warnings":
        return _kind_of_warning(record.getMessage())
    if record.name == "asyncio":
        ends = [record.msg.find(char) for char in _ARGUMENT_BEGINS if char in record.msg]
        return record.msg[: min(ends, default=None)].strip()
    return record.msg if record.args else None


def _kind_of_warning(words: str) -> str:
    """`RuntimeWarning` of `…/file.py:12: RuntimeWarning: its words`."""
    return words.partition(": ")[2].partition(":")[0]


def _uncaught(
    kind: type[BaseException], failure: BaseException, trace: TracebackType | None
) -> None:
    if isinstance(failure, KeyboardInterrupt):
        return
    _log_uncaught(failure)


def _log_uncaught(failure: BaseException | None) -> None:
    get_logger("relay").critical("uncaught", exc_info=failure)
