"""Why a primary is on standby, in words for everybody: the codes are for operators (docs).

What a service has said word by word is not among them: it may name what is nobody else's business.
"""

import re
from collections.abc import Mapping
from typing import Final

_WORDS: Final[Mapping[str, str]] = {
    "operator": "the operator wants it so",
    "timeout": "it did not answer in time",
    "refused": "nothing answered at its address",
    "dns": "its name was not found",
    "unreachable": "it could not be reached",
    "reset": "it broke off the connection",
    "tls": "its certificate could not be trusted",
    "rate_limited": "it asked for a pause",
    "bad_answer": "it answered something that makes no sense",
    "not_json": "it answered something that makes no sense",
    "no_such_api": "it is another service than was expected",
    "crash": "the relay could not deal with its answer",
    "full": "its disk is full",
    "read_only": "nothing can be written to it",
    "forbidden": "it did not let the relay in",
    "no_privilege": "it did not let the relay in",
    "no_connection": "its database could not be reached",
    "no_database": "its database could not be reached",
    "no_file": "its database could not be opened",
    "schema": "its database is not as the relay needs it",
    "not_unique": "its database is not as the relay needs it",
}

_HTTP: Final = re.compile(r"http_([1-5][0-9]{2})")


def reason_in_words(code: str) -> str:
    """The reason of a standby, to be put behind "because" or a colon; never empty."""
    if code in _WORDS:
        return _WORDS[code]
    if http := _HTTP.fullmatch(code):
        return _of_status(int(http[1]))
    if code.startswith(("sql_", "sqlite_")):
        return "its database could not be used"
    return "it did not take posts"


def _of_status(status: int) -> str:
    if status in (401, 403):
        return "it did not let the relay in"
    if status in (404, 405, 410):
        return "there was nothing for posts at its address"
    if status == 429:
        return _WORDS["rate_limited"]
    if status >= 500:
        return f"it said that it does not work (HTTP {status})"
    return f"it did not take posts (HTTP {status})"
