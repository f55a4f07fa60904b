"""The newest posts in memory, as they are now: also what shows them, and their changes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.model import CHANGES, Kind, Post
from xmpprelay.core.recent import Recent

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def post(number: int, **more: object) -> Post:
    return replace(Post(number, 1, "one", None, NOW), **more)  # type: ignore[arg-type]


def test_what_shows_a_post_shows_it_as_it_is_now() -> None:
    recent = Recent(lambda _: False)
    first = post(1)
    boost = post(2, kind=Kind.BOOST, original=first)
    edit = post(3, kind=Kind.EDIT, original=replace(first, text="two", edits=1), edits=1)
    for each in (first, boost, edit):
        recent.add(each)
    gone = replace(first, text="", deleted=True)
    assert [each.number for each in recent.revise(gone)] == [1, 2, 3]
    for number in (2, 3):
        shown = recent.get(number)
        assert shown is not None
        assert shown.original == gone, "an edit of a deleted post shows nothing any more"


def test_the_entry_of_a_change_is_known_while_it_is_in_memory() -> None:
    recent = Recent(lambda _: False, keep=3)
    first = post(1)
    recent.add(first)
    for edits in (1, 2):
        recent.add(post(1 + edits, kind=Kind.EDIT, original=first, edits=edits))
    recent.add(post(4, kind=Kind.DELETE, original=first, edits=2))
    assert [recent.change_of(1, edit) for edit in (1, 2, None)] == [2, 3, 4]
    assert recent.change_of(1, 3) is None
    recent.add(post(5))
    assert recent.change_of(1, 1) is None, "it has gone"
    assert recent.change_of(1, 2) == 3
    assert recent.revise(replace(first, deleted=True))[1:] == [
        replace(post(3, kind=Kind.EDIT, original=replace(first, deleted=True), edits=2))
    ]


FEW: Final = st.integers(1, 6)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Kind.POST, Kind.BOOST, Kind.EDIT, Kind.DELETE, Kind.DIRECT]),
            FEW,
            st.lists(FEW, max_size=2),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(1, 12),
    st.sets(FEW, max_size=2),
)
def test_what_may_be_for_somebody_is_all_that_anybody_would_get(
    entries: list[tuple[Kind, int, list[int], bool]], keep: int, follows: set[int]
) -> None:
    recent, posts = Recent(lambda _: False, keep), list[Post]()
    for number, (kind, author, named, revised) in enumerate(entries, 1):
        shown = posts[(author * 7) % len(posts)].content if posts else None
        if shown is None or kind in (Kind.POST, Kind.DIRECT):
            kind, shown = (Kind.DIRECT if kind is Kind.DIRECT else Kind.POST), None
        whose = shown.author if shown is not None and kind in CHANGES else author
        posts.append(
            post(number, author=whose, kind=kind, original=shown, mentions=tuple(sorted({*named})))
        )
        recent.add(posts[-1])
        if revised:
            recent.revise(replace(posts[0], mentions=tuple(sorted({*named}))))
    in_memory = [p for n in recent.numbers(1, len(posts)) if (p := recent.get(n)) is not None]
    for person in range(1, 7):
        for first in (1, len(posts) // 2):
            assert set(recent.concerning(person, follows, first, len(posts) - 1)) == {
                p.number
                for p in in_memory
                if first <= p.number < len(posts)
                and (whom_one_follows(p) in follows or person in p.concerns)
            }


def whom_one_follows(entry: Post) -> int:
    changed = entry.original if entry.kind in CHANGES else None
    return entry.author if changed is None else changed.author
