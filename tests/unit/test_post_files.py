"""A file of posts is read as a whole, and all that is wrong with it is told at once."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from xmpprelay.core.model import Kind
from xmpprelay.post_files import (
    FORMAT,
    PostFile,
    PostFileError,
    file_rows,
    header_line,
    parse_posts,
    post_json,
    post_line,
    post_of,
)
from xmpprelay.store.journal_files import FiledPost, Present

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ALICE, BOB = "alice@example.org", "bob@example.org"
HERE = Present({ALICE: "alice", BOB: ""}, {"alice": ALICE, "gone": None}, frozenset())
FULL = FiledPost(
    atom_id="xmpp:other.test?;node=2.ab12cd",
    author=ALICE,
    handle="alice",
    text="Tee? \\ \u2028 😀 https://a.test/1.png",
    lang="de",
    created=NOW - timedelta(microseconds=1),
    in_reply_to="xmpp:other.test?;node=1.ab12cd",
    targets=(BOB,),
    mentions=(ALICE,),
    edits=2,
    relay_only=True,
    attachments=("https://a.test/1.png",),
    inserted=("99", "100"),
)


def line(**more: Any) -> bytes:
    values = {
        "atom_id": "tag:a",
        "author": ALICE,
        "text": "one",
        "created": "2026-05-01T00:00:00+02:00",
    }
    return json.dumps({k: v for k, v in (values | more).items() if v is not ...}).encode()


def parsed(*lines: bytes, here: Present = HERE, count: int | None = None, **how: Any) -> PostFile:
    header = header_line("ab12cd", "other.test", len(lines) if count is None else count)
    return parse_posts([header.encode(), *lines], here, domain="relay.test", now=NOW, **how)


def problems(*lines: bytes, **how: Any) -> list[str]:
    with pytest.raises(PostFileError) as caught:
        parsed(*lines, **how)
    return list(caught.value.problems)


def test_a_post_is_read_as_it_was_written() -> None:
    written = post_line(FULL)
    assert written.count("\n") == 1
    [read] = parsed(written.encode()).posts
    cleaned = "Tee? \\ \n 😀 https://a.test/1.png"
    assert read == replace(FULL, text=cleaned), "as every text is"
    assert post_of(json.loads(json.dumps(post_json(FULL)))) == FULL


def test_little_is_needed() -> None:
    [post] = parsed(line()).posts
    assert post == FiledPost(
        "tag:a", ALICE, None, "one", None, datetime(2026, 4, 30, 22, 0, tzinfo=UTC)
    )


def test_a_deleted_post_has_no_text() -> None:
    for text in ("", "old", ...):
        [post] = parsed(line(deleted=True, text=text)).posts
        assert (post.deleted, post.text) == (True, "")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"atom_id": ...}, "atom_id is missing, or no text"),
        ({"atom_id": 7}, "atom_id is missing, or no text"),
        ({"atom_id": "a b"}, "its atom_id is no address"),
        ({"atom_id": "a\ud800"}, "its atom_id is no address"),
        ({"author": ...}, "author is missing, or no text"),
        ({"author": "alice"}, 'its author "alice" is no bare JID such as alice@example.org'),
        ({"author": "a@relay.test"}, 'its author "a@relay.test" is an address of this relay'),
        ({"author": "x@a.org"}, "its author x@a.org is not known here; --make-people makes"),
        ({"author": BOB}, "its author bob@example.org has no handle; give one in its field"),
        ({"author": BOB, "handle": "bob"}, "its author bob@example.org has no handle here; --make"),
        ({"protected": True}, "its author alice@example.org is protected there and not here; let"),
        ({"protected": 1}, "protected is neither true nor false"),
        ({"text": ...}, "text is missing, or no text"),
        ({"text": "\u200b"}, "There is no text in this"),
        ({"text": "x" * 8001}, "This has 8,001 characters; a post may have 8,000"),
        ({"lang": "no tag"}, 'its lang "no tag" is no language tag such as en or pt-BR'),
        ({"created": "yesterday"}, 'its time "yesterday" is none such as 2026-05-04T12:00:00+'),
        ({"created": "2026-05-01T00:00:00"}, 'its time "2026-05-01T00:00:00" is none such as'),
        ({"created": "2026-05-05T00:00:00Z"}, 'its time "2026-05-05T00:00:00Z" is in the future'),
        ({"kind": "boost"}, 'its kind "boost" is neither post nor direct'),
        ({"kind": "direct"}, "a direct message is to one person"),
        ({"to": "bob"}, "to is no list of texts"),
        ({"mentions": ["bob"]}, '"bob" in mentions is no bare JID'),
        ({"in_reply_to": ["x"]}, "in_reply_to is no text"),
        ({"in_reply_to": "\ud800"}, "what it is in_reply_to is no address"),
        ({"attachments": ["file:///etc/passwd"]}, 'the attachment "file:///etc/passwd" is no'),
        ({"edits": -1}, "edits is no number from 0 on"),
        ({"edits": True}, "edits is no number from 0 on"),
    ],
)
def test_what_is_wrong_with_a_post_is_told(more: dict[str, Any], told: str) -> None:
    [problem] = problems(line(**more))
    assert problem.startswith(f"line 2: {told}")


def test_all_that_is_wrong_is_told_at_once_with_its_line() -> None:
    found = problems(
        line(text=..., edits="2"),
        b"nonsense",
        b"[]",
        b"\xff",
        line(),
        line(),
        line(atom_id="tag:b", in_reply_to="tag:c"),
        line(atom_id="tag:c", author="x@a.org"),
        line(atom_id="tag:d", author="x@a.org"),
        count=20,
    )
    assert found == [
        "line 2: text is missing, or no text",
        "line 2: edits is no number from 0 on",
        "line 3: this is no JSON in UTF-8",
        "line 4: this is no JSON object",
        "line 5: this is no JSON in UTF-8",
        "line 6: line 2 has the same atom_id",
        "line 7: line 6 has the same atom_id",
        "line 8: it answers the post in line 9, a later one",
        "line 9: its author x@a.org is not known here; --make-people makes its authors known",
        "line 10: the file is to have 20 posts, and has 9: it is cut",
    ]


def test_who_has_many_mistakes_has_the_wrong_file() -> None:
    found = problems(*[b"x"] * 80)
    assert len(found) == 51
    assert found[-1] == "and 30 more"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "the file is empty"),
        ([b"jid,handle,follows"], "this is no JSON in UTF-8"),
        ([b'{"count": 0}'], f'the first line must have "format": "{FORMAT}"'),
        ([header_line("a", "b", 0).replace("1,", "2,", 1).encode()], "this relay reads version 1"),
        ([header_line("a", "b", 0).replace("0}", "null}").encode()], "the first line must have a"),
    ],
)
def test_another_file_is_known_by_its_first_line(lines: list[bytes], told: str) -> None:
    with pytest.raises(PostFileError) as caught:
        parse_posts(lines, HERE, domain="relay.test", now=NOW)
    assert caught.value.problems[0].startswith(f"line 1: {told}")


# --- people --------------------------------------------------------------------------------------


def test_authors_are_made_known_with_their_handles() -> None:
    file = parsed(
        line(author=BOB, handle="Bob"),
        line(atom_id="tag:b", author="zoe@a.org", handle="zoe", protected=True),
        line(atom_id="tag:c", author="left@a.org", deleted=True),
        line(atom_id="tag:d", handle="not.hers"),
        make_people=True,
    )
    assert file.people == {BOB: "bob", "zoe@a.org": "zoe", "left@a.org": None}
    people = [row for row in file_rows(file) if "person" in row]
    assert people == [
        {"person": BOB, "handle": "bob", "protected": False},
        {"person": "zoe@a.org", "handle": "zoe", "protected": True},
        {"person": "left@a.org", "handle": None, "protected": False},
    ]
    assert len(file_rows(file)) == len(people) + 4


def test_handles_that_cannot_be_are_told() -> None:
    found = problems(
        line(author="a@a.org", handle="alice"),
        line(atom_id="tag:b", author="b@a.org", handle="a1ice"),
        line(atom_id="tag:c", author="c@a.org", handle="gone"),
        line(atom_id="tag:d", author="d@a.org", handle="help"),
        line(atom_id="tag:e", author="e@a.org", handle="press"),
        line(atom_id="tag:f", author="f@a.org", handle="same"),
        line(atom_id="tag:g", author="g@a.org", handle="same"),
        line(atom_id="tag:h", author="g@a.org", handle="same"),
        make_people=True,
        reserved=["press"],
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "line 2", "line 3", "line 4", "line 5", "line 6", "line 8",
    ]  # fmt: skip
    assert found[0].endswith("cannot be @alice here, since somebody else is, or looks like that")


def test_who_is_protected_on_both_sides_may_come() -> None:
    here = Present({ALICE: "alice"}, {"alice": ALICE}, frozenset({ALICE}))
    [post] = parsed(line(protected=True), here=here).posts
    assert post.protected


def test_letters_are_read() -> None:
    [post] = parsed(line(kind="direct", to=[BOB.upper()])).posts
    assert (post.kind, post.targets) == (Kind.DIRECT, (BOB,))
