"""How much is said to those who did not ask, and to those whom nobody here knows."""

import math

from xmpprelay.core.courtesy import (
    ALLOWANCE,
    ALLOWANCE_PER_S,
    DAY_S,
    HEARD,
    SAID_FOR_S,
    UNASKED_EVERY_S,
    Courtesy,
    Lately,
    Load,
)

FAR, BOB = "far.test", "bob@far.test"
SMALL, LARGE = Load(1, 100), Load(1, 400)


def test_what_nobody_asked_for_is_said_once_in_ten_seconds() -> None:
    courtesy = Courtesy()
    assert courtesy.says_unasked(BOB, 5.0) == 0.0
    assert courtesy.says_unasked(BOB, 8.0) == UNASKED_EVERY_S - 3.0
    assert courtesy.says_unasked("carol@far.test", 8.0) == 0.0, "each has his own"
    assert courtesy.says_unasked(BOB, 5.0 + UNASKED_EVERY_S) == 0.0


def test_a_line_is_known_again_for_a_minute_and_by_nobody_else() -> None:
    courtesy = Courtesy()
    courtesy.says(BOB, "ok #1: 1 person", 0.0)
    assert courtesy.has_said(BOB, " ok #1: 1 person\n", SAID_FOR_S - 1)
    assert not courtesy.has_said(BOB, "ok #1: 2 people", 0.0)
    assert not courtesy.has_said("carol@far.test", "ok #1: 1 person", 0.0)
    assert not courtesy.has_said(BOB, "ok #1: 1 person", SAID_FOR_S)


def test_a_stranger_is_told_once_a_day() -> None:
    courtesy = Courtesy()
    told = [courtesy.tells_today(BOB, "text", at) for at in (0.0, 1.0, DAY_S - 1, DAY_S, DAY_S + 1)]
    assert told == [True, False, False, True, False]
    assert courtesy.tells_today(BOB, "encrypted", 1.0), "and of each thing by itself"


def storm(courtesy: Courtesy, came: Load, goes: Load, stanzas: int, seconds: float) -> Load:
    """So many come in so many seconds; all that goes out."""
    out = Load(0, 0)
    for n in range(stanzas):
        if courtesy.answers(FAR, came, goes, n * seconds / stanzas):
            out += goes
    return out


def test_a_storm_is_answered_with_no_more_than_came_in_and_the_allowance() -> None:
    for came, goes in ((SMALL, LARGE), (LARGE, SMALL), (SMALL, Load(2, 100)), (LARGE, Load(3, 90))):
        out = storm(Courtesy(), came, goes, 10_000, 60.0)
        free = ALLOWANCE + Load(60 * ALLOWANCE_PER_S.stanzas, 60 * ALLOWANCE_PER_S.size_bytes)
        most = Load(10_000 * came.stanzas, 10_000 * came.size_bytes) + free
        assert most.covers(out), (came, goes)
        assert out.stanzas > free.stanzas, "and what came in is answered"


def test_what_a_domain_has_sent_before_does_not_pile_up() -> None:
    courtesy = Courtesy()
    for _ in range(1000):
        assert courtesy.answers(FAR, LARGE, SMALL, 0.0)
    out = 0
    while courtesy.answers(FAR, Load(0, 0), SMALL, 0.0):
        out += 1
    assert out <= ALLOWANCE.stanzas


def test_the_allowance_comes_back_and_is_each_domains_own() -> None:
    courtesy = Courtesy()
    nothing = Load(0, 0)
    assert courtesy.answers(FAR, nothing, ALLOWANCE, 0.0)
    assert not courtesy.answers(FAR, nothing, SMALL, 0.0)
    assert courtesy.answers("other.test", nothing, ALLOWANCE, 0.0)
    assert courtesy.answers(FAR, nothing, SMALL, 60.0)
    assert not courtesy.answers(FAR, nothing, ALLOWANCE, 61.0)
    assert courtesy.answers(FAR, nothing, ALLOWANCE, 3600.0)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    courtesy = Courtesy()
    assert courtesy.answers(FAR, Load(0, 0), ALLOWANCE, 100.0)
    assert not courtesy.answers(FAR, Load(0, 0), SMALL, 0.0)
    assert not courtesy.answers(FAR, Load(0, 0), ALLOWANCE, 101.0)


def test_what_is_remembered_has_a_bound_and_an_end() -> None:
    lately = Lately(10.0, most=3)
    for n in range(5):
        lately.happens(n, float(n))
    assert [lately.since(n, 4.0) for n in range(5)] == [math.inf, math.inf, 2.0, 1.0, 0.0]
    lately.happens(3, 11.0)
    assert len(lately) == 3
    lately.happens("much later", 30.0)
    assert len(lately) == 1
    courtesy = Courtesy()
    for n in range(21_000):
        courtesy.says_unasked(f"u{n}", 0.0)
        courtesy.says(f"u{n}", "x", 0.0)
        courtesy.tells_today(f"u{n}", "text", 0.0)
        courtesy.answers(f"u{n}.test", SMALL, LARGE, 0.0)
    sizes = [len(each) for each in (courtesy._unasked, courtesy._said, courtesy._told)]
    assert max(*sizes, len(courtesy._allowances)) <= 20_000


def test_of_one_domain_only_so_much_is_heard_in_a_second() -> None:
    courtesy = Courtesy()
    burst = int(HEARD.burst)
    assert sum(courtesy.hears(FAR, 0.0) for _ in range(3 * burst)) == burst
    assert courtesy.hears("other.test", 0.0)
    heard = sum(courtesy.hears(FAR, 1.0) for _ in range(3 * burst))
    assert heard == min(burst, int(HEARD.per_second))
