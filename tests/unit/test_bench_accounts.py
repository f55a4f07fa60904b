"""The accounts of a benchmark: a CSV file, or new ones."""

import pytest

from xmpprelay.bench.accounts import AccountsError, new_accounts, parse_accounts
from xmpprelay.bench.dialogues import Login


def parsed(text: str, followers: int = 1) -> list[Login]:
    return parse_accounts(text.splitlines(keepends=True), "a.csv", followers)


def test_the_first_is_the_author_and_no_more_than_needed_are_taken() -> None:
    text = 'JID, Password\nA@Example.org,one\n\nb@example.org,"t,wo "\r\nc@example.org,three\n'
    assert parsed(text) == [Login("a@example.org", "one"), Login("b@example.org", "t,wo ")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "The first line of a.csv has to be jid,password."),
        ("a@example.org,one\n", "The first line of a.csv has to be jid,password."),
        ("jid,password\na@example.org\n", "a.csv, line 2: this has to be a JID and a password"),
        ("jid,password\n\na@example.org,\n", "a.csv, line 3: this has to be a JID"),
        ("jid,password\nexample.org,x\n", "a.csv, line 2: example.org is not a bare JID"),
        ("jid,password\na@b.c,x\na@b.c,y\n", "a.csv, line 3: a@b.c is there twice."),
        ("jid,password\na@b.c,x\na@d.e,y\n", "a.csv, line 3: a@d.e is not of b.c"),
        ('jid,password\na@b.c,"x"y\n', "a.csv, line 2: this is not CSV"),
        ("jid,password\na@b.c,x\n", "a.csv has one account, and 1 followers and an author need 2"),
    ],
)
def test_the_first_mistake_is_told_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(AccountsError) as caught:
        parsed(text)
    assert caught.value.sentence.startswith(expected)
    assert "\n" not in caught.value.sentence


def test_too_few_are_told_with_what_they_are_enough_for() -> None:
    with pytest.raises(AccountsError, match="or take --followers 2"):
        parsed("jid,password\na@b.c,x\nd@b.c,x\ne@b.c,x\n", followers=3)


def test_new_accounts_have_names_and_passwords_that_nobody_knows() -> None:
    made, others = new_accounts("example.org", 2), new_accounts("example.org", 2)
    assert len({login.jid for login in made + others}) == 6
    assert len({login.password for login in made + others}) == 6
    assert all(login.jid.endswith("@example.org") for login in made)
