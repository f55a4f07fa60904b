"""People as CSV: what is read, what is refused with which line, and that both ways agree."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.people_csv import Known, PeopleFileError, PersonRow, format_csv, parse_csv

HEADER = "jid,handle,follows\n"


def parse(text: str, known: Known | None = None) -> list[PersonRow]:
    return parse_csv(io.StringIO(text, newline=""), known, "relay.example.org", ["news"])


def problems(text: str, known: Known | None = None) -> tuple[str, ...]:
    with pytest.raises(PeopleFileError) as caught:
        parse(text, known)
    assert all(problem.isprintable() for problem in caught.value.problems)
    return caught.value.problems


def problem(text: str, known: Known | None = None) -> str:
    (only,) = problems(text, known)
    return only


def test_people_are_read_in_the_order_of_the_file() -> None:
    rows = parse(HEADER + "dave@other.org,,alice  bob\nalice@example.org,alice,bob\nbob@a.org,bob,")
    assert rows == [
        PersonRow("dave@other.org", None, ("alice", "bob")),
        PersonRow("alice@example.org", "alice", ("bob",)),
        PersonRow("bob@a.org", "bob", ()),
    ]


def test_spreadsheets_mark_line_ends_quotes_and_empty_rows_are_accepted() -> None:
    text = '\ufeffJID,"Handle",follows\r\n\r\n" Alice@Example.ORG ","Alice","@BOB bob"\r\n,,\r\n'
    rows = parse(text + "bob@a.org,@Bob,\r\n")
    assert rows == [
        PersonRow("alice@example.org", "alice", ("bob",)),
        PersonRow("bob@a.org", "bob", ()),
    ]


def test_nobody_is_a_file_too() -> None:
    assert parse(HEADER) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("alice,alice,", 'line 2: "alice" is not a bare JID'),
        (",alice,", "line 2: the JID is missing"),
        ("alice@example.org/phone,alice,", "line 2: "),
        (
            "alice@relay.example.org,alice,",
            'line 2: "alice@relay.example.org" is an address of the',
        ),
        ("alice@example.org,a,", "line 2: `a` is too short"),
        ("alice@example.org,follow,", "line 2: `follow` is a command"),
        ("alice@example.org,admin,", "line 2: `admin` is reserved"),
        ("alice@example.org,news,", "line 2: `news` is reserved"),
        ("alice@example.org,al ice,", "line 2: There is a space in this"),
        ("alice@example.org,alice", "line 2: there are 2 cells; give three"),
        ("alice@example.org,alice,bob,carol", "line 2: there are 4 cells"),
        ("a@b.org,,\nc@d.org,,\nA@B.org,,", 'line 4: "a@b.org" is in line 2 already'),
        ("a@b.org,alice,\nc@d.org,ALICE,", 'line 3: "alice", or what looks like it, is in line 2'),
        ("a@b.org,alice,\nc@d.org,a1ice,", 'line 3: "a1ice", or what looks like it, is in line 2'),
        ("a@b.org,,nobody", 'line 2: follows "nobody", which is neither in the file nor known'),
        ("a@b.org,,\x1b[31m", 'line 2: follows "\\x1b[31m", which is neither'),
        ('a@b.org,"alice,', "line 2: this is not CSV"),
        ("\n\na@b.org,a,", "line 4: "),
        ('"a@b.org\n",,\nc@d.org,a,', "line 4: `a` is too short"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(rows: str, expected: str) -> None:
    assert problem(HEADER + rows + "\n").startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: the file is empty; its first line must be jid,handle,follows"),
        ("jid;handle;follows\n", "line 1: the first line must be jid,handle,follows"),
        ("alice@example.org,alice,\n", "line 1: the first line must be jid,handle,follows"),
    ],
)
def test_a_missing_header_is_told(text: str, expected: str) -> None:
    assert problem(text) == expected


def test_what_is_no_text_is_told_with_its_line() -> None:
    content = [HEADER.encode(), b"a@b.org,,\n", b"\xff@b.org,,\n"]
    with pytest.raises(PeopleFileError) as caught:
        parse_csv(line.decode() for line in content)
    assert caught.value.problems == ("line 3: there is something that is no UTF-8 text",)


def test_all_that_is_wrong_is_told_in_the_order_of_the_file() -> None:
    text = HEADER + "x,alice,dave\nb@b.org,a,\nc@c.org,,erin\nd@d.org,,dave\n"
    assert [each.partition(":")[0] for each in problems(text)] == [
        "line 2",
        "line 2",
        "line 3",
        "line 4",
    ]


def test_of_thousands_of_mistakes_some_are_told() -> None:
    told = problems(HEADER + "x,,\n" * 5000)
    assert len(told) == 51
    assert told[-1] == "and 4950 more"


KNOWN = Known(
    people={"alice@example.org": "alice", "bob@example.org": None},
    handles={"alice": "alice@example.org", "zoe": None},
)


@pytest.mark.parametrize(
    "row",
    [
        "alice@example.org,alice,",
        "alice@example.org,,",
        "bob@example.org,bob,alice",
        "carol@example.org,carol,alice",
    ],
)
def test_who_is_known_may_be_in_the_file_again(row: str) -> None:
    assert len(parse(HEADER + row, KNOWN)) == 1


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("alice@example.org,alicia,", 'line 2: "alice@example.org" has the handle alice already'),
        ("carol@example.org,alice,", 'line 2: "alice" is taken'),
        ("carol@example.org,a1ice,", 'line 2: "a1ice" is too much like alice, which is taken'),
        ("carol@example.org,zoe,", 'line 2: "zoe" is taken'),
        ("carol@example.org,,zoe", 'line 2: follows "zoe", which is neither in the file nor known'),
    ],
)
def test_what_the_relay_knows_otherwise_is_refused(row: str, expected: str) -> None:
    assert problem(HEADER + row, KNOWN).startswith(expected)


def test_a_very_long_list_of_follows_is_no_problem() -> None:
    names = [f"user_{number}" for number in range(20_000)]
    text = HEADER + "".join(f"{name}@a.org,{name},\n" for name in names)
    rows = parse(text + f"x@y.org,,{' '.join(names)}\n")
    assert len(rows[-1].follows) == 20_000


locals_ = st.text(st.sampled_from("abc,;=+-#%äß."), min_size=1, max_size=6)


@given(st.lists(locals_, max_size=8), st.data())
def test_what_is_written_is_read_again(names: list[str], data: st.DataObject) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["jid", "handle", "follows"])
    for number, name in enumerate(names):
        follows = data.draw(st.sets(st.sampled_from([f"user{n}" for n in range(len(names))])))
        writer.writerow([f"{name}{number}@a.org", f"user{number}", " ".join(follows)])
    rows = parse(text.getvalue())
    assert len(rows) == len(names)
    assert parse("".join(format_csv(rows))) == rows
