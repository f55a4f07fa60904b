"""How everything is, in a sentence and as JSON; what a standby looks like by XEP-0455."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from xmpprelay.core.health import Flag, Stance
from xmpprelay.core.reasons import reason_in_words
from xmpprelay.core.volume import LoadState
from xmpprelay.overview import Health, Overview, state_of, summary, told
from xmpprelay.store.outages import Outage
from xmpprelay.trickle.standby import Situation

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

FINE = Health(True, "writable", LoadState.NORMAL, 0, 0.0)
UP = Situation("", Stance.ONLINE, None, 0, None, 0.0, "", "", Flag.AUTO)
AWAY = replace(
    UP, stance=Stance.STANDBY, since=NOON - 3 * HOUR, waiting=9, oldest=NOON - 2 * HOUR,
    reason="http_502", detail="<h1>db-7.internal is down</h1>",
)  # fmt: skip
ELSEWHERE = replace(AWAY, site="https://social.example", since=NOON - HOUR, reason="operator")


def of(*primaries: Situation, health: Health | None = FINE) -> Overview:
    return Overview(NOON, health, primaries, ())


@pytest.mark.parametrize(
    ("overview", "words"),
    [
        (of(), "All is well: posts go out at once."),
        (of(UP), "All is well: posts go out at once and are inserted into the primary."),
        (of(AWAY, health=None), "The relay does not run"),
        (of(AWAY, health=replace(FINE, connected=False)), "not connected to its XMPP server"),
        (of(AWAY, health=replace(FINE, journal="full")), "disk has no room"),
        (of(AWAY, health=replace(FINE, journal="failed")), "cannot write to its database"),
        (of(AWAY, health=replace(FINE, load=LoadState.BUSY)), "is on standby since 1 Jan 09:00 UTC (3 h)"),  # noqa: E501
        (of(UP, health=replace(FINE, load=LoadState.BUSY)), "go into digests for now"),
        (of(UP, AWAY, ELSEWHERE), "The primary, social.example are on standby since 1 Jan 09:00"),
        (of(replace(UP, stance=Stance.STANDBY)), "Whether the primary is there is not known yet."),
        (of(replace(UP, stance=Stance.TRICKLE)), "The primary is there, and what has waited"),
    ],
)  # fmt: skip
def test_the_worst_is_told_first(overview: Overview, words: str) -> None:
    assert words in summary(overview)


def test_a_primary_of_which_nothing_is_known_yet_is_not_called_away() -> None:
    assert state_of(replace(UP, stance=Stance.STANDBY)) == "unknown"
    assert [state_of(each) for each in (UP, AWAY)] == ["online", "standby"]


def test_a_standby_has_the_form_of_an_outage() -> None:
    """XEP-0455 §2.2: `beginning` is required, a message has a default, times are of XEP-0082."""
    found = told(of(UP, AWAY, ELSEWHERE))
    assert found["beginning"] == "2030-01-01T09:00:00Z"
    assert found["planned"] is False, "not all of it is the operator's wish"
    assert found["message"]["default"] == found["message"]["en"] == summary(of(UP, AWAY, ELSEWHERE))
    assert "expected_end" not in found, "nobody knows"
    assert told(of(ELSEWHERE))["planned"] is True
    assert not told(of(UP)).keys() & {"planned", "beginning", "expected_end", "message"}


def test_what_a_service_has_said_is_for_the_operator_only() -> None:
    assert "db-7" not in str(told(of(AWAY)))
    [primary] = told(of(AWAY))["primaries"]
    assert primary["reason_in_words"] == "it said that it does not work (HTTP 502)"


def test_a_primary_that_is_there_has_no_reason() -> None:
    [primary] = told(of(replace(UP, reason="timeout", waiting=30, per_second=0.5)))["primaries"]
    assert (primary["reason"], primary["reason_in_words"], primary["since"]) == (None, None, None)
    assert (primary["per_minute"], primary["through_in_s"]) == (30.0, 60)


def test_since_when_a_primary_is_there_is_known_from_its_last_outage() -> None:
    outages = [
        Outage("https://social.example", NOON - HOUR, NOON, "timeout", 0),
        Outage("", NOON - 5 * HOUR, NOON - 4 * HOUR, "timeout", 0),
        Outage("", NOON - 9 * HOUR, NOON - 8 * HOUR, "timeout", 0),
    ]

    def since(each: Situation) -> object:
        return told(Overview(NOON, FINE, [each], outages))["primaries"][0]["since"]

    assert since(UP) == "2030-01-01T08:00:00Z"
    assert since(AWAY) == "2030-01-01T09:00:00Z"
    assert since(replace(UP, stance=Stance.STANDBY)) is None, "nobody knows yet how it is"
    assert since(replace(UP, site="https://other.example")) is None, "it was never away"


def test_outages_are_told_with_their_length() -> None:
    outages = [
        Outage("", NOON - HOUR, None, "tls", 0),
        Outage("https://social.example", NOON - 9 * HOUR, NOON - 7 * HOUR, "timeout", 12),
    ]
    lasts, over = told(Overview(NOON, FINE, (), outages))["outages"]
    assert (lasts["ended"], lasts["lasted_s"], lasts["carried"]) == (None, 3600, None)
    assert (over["name"], over["lasted_s"], over["carried"]) == ("social.example", 7200, 12)
    assert over["reason_in_words"] == "it did not answer in time"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("http_500", "it said that it does not work (HTTP 500)"),
        ("http_401", "it did not let the relay in"),
        ("http_410", "there was nothing for posts at its address"),
        ("http_429", "it asked for a pause"),
        ("http_422", "it did not take posts (HTTP 422)"),
        ("http_<b>", "it did not take posts"),
        ("sql_57p03", "its database could not be used"),
        ("sqlite_5", "its database could not be used"),
        ("", "it did not take posts"),
    ],
)
def test_every_reason_has_words(code: str, words: str) -> None:
    assert reason_in_words(code) == words
