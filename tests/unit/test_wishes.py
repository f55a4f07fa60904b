"""What one person has chosen: which subjects an author falls under, and what covers a post."""

from datetime import UTC, datetime, timedelta

import pytest

from xmpprelay.core.wishes import (
    EVERYTHING,
    NO_WISHES,
    Digest,
    Span,
    Wishes,
    group_in,
    of_author,
    of_group,
)

ALICE, BOB = 1, 2
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEWS = {"news": frozenset({ALICE})}


def test_a_group_is_not_taken_for_the_author_with_that_number() -> None:
    wishes = Wishes(groups={"7": frozenset({ALICE})})
    assert wishes.authors_of(of_group("7")) == {ALICE}
    assert wishes.authors_of(of_author(7)) == {7}
    assert wishes.authors_of(of_group("gone")) == frozenset()
    assert wishes.authors_of(EVERYTHING) == frozenset()


def test_the_name_of_a_group_is_in_its_subject() -> None:
    assert group_in(of_group("news")) == "news"
    assert group_in(of_author(1)) is None
    assert group_in(EVERYTHING) is None


def test_an_author_comes_before_his_groups() -> None:
    assert list(Wishes(groups=NEWS).subjects(ALICE)) == [of_author(ALICE), of_group("news")]
    assert list(Wishes(groups=NEWS).subjects(BOB)) == [of_author(BOB)]


@pytest.mark.parametrize("subject", [EVERYTHING, of_author(ALICE), of_group("news")])
def test_off_covers_what_was_posted_in_its_span(subject: str) -> None:
    wishes = Wishes(groups=NEWS, offs={subject: (Span(NOON, NOON + HOUR),)})
    assert not wishes.is_off(ALICE, NOON - HOUR)
    assert wishes.is_off(ALICE, NOON)
    assert wishes.is_off(ALICE, NOON + HOUR / 2)
    assert not wishes.is_off(ALICE, NOON + HOUR)
    assert wishes.is_off(BOB, NOON) is (subject == EVERYTHING)


def test_his_own_digest_counts_before_that_of_a_group_and_both_before_the_tier() -> None:
    news, own = of_group("news"), of_author(ALICE)
    both = Wishes(groups=NEWS, digests={news: Digest(5, HOUR), own: Digest(10, HOUR)})
    assert both.digest_for(ALICE, 4, surplus=False) is None
    assert both.digest_for(ALICE, 4, surplus=True) == own, "the tier's"
    assert both.digest_for(ALICE, 5, surplus=False) == news
    assert both.digest_for(ALICE, 10, surplus=False) == own
    off = Wishes(groups=NEWS, digests={news: Digest(5, HOUR), own: Digest(10)})
    assert off.digest_for(ALICE, 10, surplus=True) is None
    assert off.digest_for(ALICE, 9, surplus=True) == news


def test_who_has_chosen_nothing_is_simple() -> None:
    assert NO_WISHES.plain
    assert Wishes(groups=NEWS).plain
    assert not Wishes(digests={of_author(ALICE): Digest(1)}).plain
