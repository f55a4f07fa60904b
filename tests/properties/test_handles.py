"""core/handles.py under any text there is (S12.1)."""

import re

from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.handles import as_handle, check_handle, skeleton
from xmpprelay.errors import HandleRefused

HANDLES = st.from_regex(r"[A-Za-z0-9_]{2,20}", fullmatch=True)
NEARLY = st.text(st.sampled_from("abornvwxil015_@ .-éK\u212aß３"), max_size=24)
LOOKALIKES = {"o": "o0", "l": "l1i", "i": "l1i", "1": "l1i", "0": "o0", "s": "s5", "5": "s5"}


def judged(text: str) -> tuple[str | None, str]:
    try:
        return check_handle(text), ""
    except HandleRefused as error:
        return None, error.sentence


@given(st.one_of(st.text(st.characters(exclude_categories=())), NEARLY, HANDLES))
def test_a_handle_is_of_the_form_or_refused_with_a_sentence(text: str) -> None:
    handle, sentence = judged(text)
    if handle is None:
        assert sentence.endswith(".")
        if found := re.search(r"for example `(.+)`\.$", sentence):
            assert check_handle(found[1]) == found[1]
        return
    assert re.fullmatch(r"[a-z0-9_]{2,20}", handle)
    assert re.search("[a-z]", handle)
    assert not re.fullmatch("[0-9]+[mhd]", handle)
    assert check_handle(handle) == handle
    assert as_handle(handle) == handle
    assert handle == text.strip().removeprefix("@").lower()


@given(HANDLES)
def test_a_skeleton_is_its_own(handle: str) -> None:
    bones = skeleton(handle)
    assert skeleton(bones) == bones
    assert skeleton(handle.upper()) == bones
    assert not re.search("_|[015iA-Z]|rn|vv", bones)


@given(HANDLES, st.randoms(use_true_random=False))
def test_lookalike_characters_and_underscores_do_not_change_it(handle: str, random) -> None:  # type: ignore[no-untyped-def]
    other = "".join(
        random.choice(LOOKALIKES.get(char, char)) + random.choice(["", "_"])
        for char in handle.lower()
    )
    assert skeleton(other) == skeleton(handle)


@given(HANDLES, st.lists(st.text(st.sampled_from("ab*?0_o"), max_size=6), max_size=4))
def test_a_pattern_that_matches_keeps_the_handle_back(handle: str, patterns: list[str]) -> None:
    try:
        check_handle(handle, patterns)
    except HandleRefused:
        return
    for pattern in patterns:
        naive = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
        assert not re.fullmatch(naive, handle.lower())
