"""core/handles.py: which names people may take (S12.1)."""

import pytest

from xmpprelay.commands.verbs import BY_WORD
from xmpprelay.core.handles import (
    COMMAND_WORDS,
    RESERVED_WORDS,
    as_handle,
    check_handle,
    skeleton,
)
from xmpprelay.errors import HandleRefused


@pytest.mark.parametrize(
    ("typed", "handle"),
    [
        ("alice", "alice"),
        ("Alice", "alice"),
        ("@bob", "bob"),
        (" carol_99 ", "carol_99"),
        ("ab", "ab"),
        ("x" * 20, "x" * 20),
        ("3hats", "3hats"),
        ("_dave_", "_dave_"),
        ("7of9", "7of9"),
    ],
)
def test_takes_what_has_the_form(typed: str, handle: str) -> None:
    assert check_handle(typed) == handle


@pytest.mark.parametrize(
    ("typed", "says", "instead"),
    [
        ("", "empty", None),
        ("@", "empty", None),
        ("René", "`é`", "rene"),
        ("bob.smith", "`.`", "bob_smith"),
        ("bob smith", "a space", "bob_smith"),
        ("bob\u200b", "invisible", "bob"),
        ("\ud800bob", "invisible", "bob"),
        ("@@bob", "`@`", "bob"),
        ("Straße", "`ß`", "strasse"),
        ("\u212aate", "\u212a", "kate"),  # the Kelvin sign is not a k
        ("名前", "`名`", None),
        ("a", "too short", "a_1"),
        ("x" * 23, "too long by 3", "x" * 20),
        ("1234", "no letter", "n_1234"),
        ("1_2", "no letter", "n_1_2"),
        ("__", "no letter", None),
        ("3h", "span", "3h_1"),
        ("10M", "span", "10m_1"),
        ("follow", "command", "follow_1"),
        ("D_M", "command", "d_m_1"),
        ("0ff", "command", "0ff_1"),
    ],
)
def test_says_what_is_wrong_and_what_to_type_instead(
    typed: str, says: str, instead: str | None
) -> None:
    with pytest.raises(HandleRefused) as caught:
        check_handle(typed)
    sentence = caught.value.sentence
    assert says in sentence
    assert sentence.endswith(".")
    if instead is None:
        assert "for example" not in sentence
    else:
        assert f"for example `{instead}`" in sentence
        assert check_handle(instead) == instead


@pytest.mark.parametrize("word", sorted(RESERVED_WORDS))
def test_reserved_words_are_refused(word: str) -> None:
    with pytest.raises(HandleRefused):
        check_handle(word)


@pytest.mark.parametrize(
    "word",
    ["home", "admin", "root", "abuse", "postmaster", "support", "help", "status", "relay",
     "security", "moderator", "all", "me", "yes", "on", "off", "public", "everyone"],
)  # fmt: skip
def test_the_reserved_words_of_the_rule_book(word: str) -> None:
    with pytest.raises(HandleRefused):
        check_handle(word)


@pytest.mark.parametrize(
    "typed", ["adm1n", "h0me", "po5tma5ter", "a_d_m_i_n", "HOME", "rnoderator"]
)
def test_what_looks_like_a_reserved_word_is_too(typed: str) -> None:
    with pytest.raises(HandleRefused, match="reserved") as caught:
        check_handle(typed)
    assert "for example" not in caught.value.sentence


def test_command_words_are_those_of_the_grammar() -> None:
    assert set(BY_WORD) == COMMAND_WORDS


@pytest.mark.parametrize("word", sorted(COMMAND_WORDS))
def test_no_command_word_is_a_handle(word: str) -> None:
    with pytest.raises(HandleRefused):
        check_handle(word)


def test_the_operators_patterns_hold_for_lookalikes_too() -> None:
    patterns = ["BBC*", "*_official"]
    for typed in ("bbc", "bbc_news", "Bbc1", "b_b_c", "alice_official", "alice0fficial"):
        with pytest.raises(HandleRefused, match="reserved"):
            check_handle(typed, patterns)
    assert check_handle("abbc", patterns) == "abbc"
    assert check_handle("bbc", []) == "bbc"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bob", "b0b"),
        ("bob", "B_O_B"),
        ("alice", "a11ce"),
        ("bill", "blll"),
        ("marc", "rnarc"),
        ("wim", "vvim"),
        ("jess", "je55"),
        ("corn", "com"),
        ("r_n", "m"),
    ],
)
def test_lookalikes_share_a_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(("one", "other"), [("bob", "rob"), ("ann", "anne"), ("dave", "clave")])
def test_others_do_not(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@pytest.mark.parametrize(
    ("text", "handle"),
    [("Bob", "bob"), ("home", "home"), ("@bob", None), ("b", None), ("3h", None), ("12", None),
     ("x" * 21, None), ("bob\n", None), ("é1", None)],
)  # fmt: skip
def test_as_handle_judges_the_form_alone(text: str, handle: str | None) -> None:
    assert as_handle(text) == handle
