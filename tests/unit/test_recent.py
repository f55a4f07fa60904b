"""The newest posts in memory, as they are now: also what shows them, and their changes."""

from dataclasses import replace
from datetime import UTC, datetime

from xmpprelay.core.model import Kind, Post
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
