"""What is said of a primary that is away, to whom, and how often."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from xmpprelay.core.health import Flag, Stance
from xmpprelay.trickle.announcing import Announcing, line_of, span
from xmpprelay.trickle.standby import BY_OPERATOR, Situation

START = datetime(2026, 3, 1, 14, 2, tzinfo=UTC)
SITE = "https://social.example"

ONLINE = Situation("", Stance.ONLINE, None, 0, None, 0.0, "", "", Flag.AUTO)


class Town:
    """A primary or two, and who hears of them; `passes` moves the clocks."""

    def __init__(self, *sites: str) -> None:
        self.passed_s = 0.0
        self.sites = {site: replace(ONLINE, site=site) for site in sites or ("",)}
        self.said: list[tuple[str, str]] = []
        self.shown = 0  # how often the presence was another
        self.announcing = Announcing(
            lambda: list(self.sites.values()),
            lambda text, detail: self.said.append((text, detail)),
            lambda: START + timedelta(seconds=self.passed_s),
            lambda: self.passed_s,
        )
        self.announcing.changed = self._changed

    def _changed(self) -> None:
        self.shown += 1

    def passes(self, seconds: float) -> None:
        self.passed_s += seconds

    def away(self, site: str = "", **more: object) -> None:
        since = START + timedelta(seconds=self.passed_s)
        self.becomes(replace(self.sites[site], stance=Stance.STANDBY, since=since, **more))  # type: ignore[arg-type]

    def back(self, site: str = "", waiting: int = 0) -> None:
        self.becomes(replace(ONLINE, site=site, waiting=waiting))

    def becomes(self, situation: Situation) -> None:
        self.sites[situation.site] = situation
        self.announcing.announce(situation)

    def heard(self) -> list[str]:
        said, self.said = self.said, []
        return [text for text, _ in said]


DOWN = (
    "The primary is on standby since 14:02 UTC. What you post goes to your followers at once, and "
    "is inserted there later."
)


def test_a_standby_and_its_end_are_said() -> None:
    town = Town()
    town.away(detail="HTTP status 503")
    assert town.said == [(DOWN, "HTTP status 503")]
    town.heard()
    town.passes(3900)
    town.back(waiting=120)
    assert town.heard() == [
        "The primary is back after 1 h 5 min; 120 posts are being inserted, the oldest first."
    ]
    assert town.shown == 2


def test_one_that_comes_back_to_nothing() -> None:
    town = Town(SITE)
    town.away(SITE)
    town.passes(86_400 * 3)
    town.back(SITE)
    assert town.heard()[1] == "The primary social.example is back after 3 d."


def test_a_standby_of_the_operator_s_says_so() -> None:
    town = Town()
    town.away(reason=BY_OPERATOR)
    assert town.heard()[0].startswith("The primary is on standby by the operator since 14:02 UTC.")


def test_one_that_comes_and_goes_is_one_event() -> None:
    town = Town()
    for _ in range(20):
        town.away()
        town.passes(10)
        town.back()
        town.passes(10)
    assert town.heard() == [DOWN]
    assert town.shown == 40, "the presence shows it each time"
    town.announcing.tick()
    assert town.heard() == []
    town.passes(200)
    town.announcing.tick()
    assert town.heard() == ["The primary is back after 10 min."]
    town.passes(3600)
    town.announcing.tick()
    assert town.heard() == []


def test_one_that_is_away_again_when_it_may_be_said_was_away_all_the_time() -> None:
    town = Town()
    town.away()
    town.passes(60)
    town.back()
    town.passes(60)
    town.away()
    town.passes(600)
    town.announcing.tick()
    assert town.heard() == [DOWN]
    town.back()
    assert town.heard() == ["The primary is back after 12 min."]


def test_each_primary_is_an_event_of_its_own() -> None:
    other = "https://other.example"
    town = Town(SITE, other)
    town.away(SITE)
    town.away(other)
    assert [text.split(" is ")[0] for text in town.heard()] == [
        "The primary social.example", "The primary other.example",
    ]  # fmt: skip


def test_after_a_restart_it_is_not_said_again_but_its_end_is() -> None:
    town = Town()
    town.sites[""] = replace(ONLINE, stance=Stance.STANDBY, since=START - timedelta(hours=1))
    town.announcing.take_up()
    town.announcing.tick()
    assert town.heard() == []
    town.back()
    assert town.heard() == ["The primary is back after 1 h."]


# --- what is asked for ---------------------------------------------------------------------------


def test_the_presence_of_home() -> None:
    town = Town(SITE, "https://other.example")
    assert town.announcing.presence() == (None, None)
    town.away(SITE, waiting=100)
    town.passes(60)
    town.away("https://other.example", waiting=20)
    assert town.announcing.presence() == ("away", "standby since 14:02 UTC, 120 waiting")


def test_the_note_in_the_answer_to_a_post() -> None:
    town = Town(SITE)
    assert town.announcing.note(SITE, 7) == ""
    town.away(SITE)
    assert town.announcing.note(SITE, 7) == "primary on standby, 7 before you"
    assert town.announcing.note("https://other.example", 7) == ""


@pytest.mark.parametrize(
    ("situation", "line"),
    [
        (ONLINE, "The primary is online, nothing waits."),
        (
            replace(ONLINE, site=SITE, stance=Stance.TRICKLE, waiting=90, per_second=0.5,
                    oldest=START - timedelta(minutes=90)),
            "The primary social.example is online and catching up, 90 waiting, the oldest for "
            "1 h 30 min, 30 a minute, through in 3 min.",
        ),
        (
            replace(ONLINE, stance=Stance.STANDBY, since=START, waiting=1, per_second=0.5,
                    oldest=START, flag=Flag.ON),
            "The primary is on standby since 14:02 UTC, 1 waiting, the oldest for 0 s, the "
            "operator has set standby on.",
        ),
        (
            replace(ONLINE, waiting=3, flag=Flag.OFF),
            "The primary is online, 3 waiting, the operator has set standby off.",
        ),
    ],
)  # fmt: skip
def test_a_line_for_people(situation: Situation, line: str) -> None:
    assert line_of(situation, START) == line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"), (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"),
        (3660, "1 h 1 min"), (86_400, "24 h"), (172_799, "47 h 59 min"), (172_800, "2 d"),
        (180_000, "2 d 2 h"),
    ],
)  # fmt: skip
def test_a_span_in_words(seconds: float, words: str) -> None:
    assert span(timedelta(seconds=seconds)) == words
