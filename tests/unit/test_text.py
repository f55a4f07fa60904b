"""core/text.py: ids, cleaning, limits, language tags, noise."""

import pytest

from xmpprelay.core.text import (
    MAX_XML_BYTES,
    Noise,
    change_id,
    check_length,
    clean,
    clean_line,
    is_blank,
    language_tag,
    message_id,
    noise,
    parse_change_id,
    parse_message_id,
    parse_short_id,
    short_id,
)
from xmpprelay.errors import BadRequest, TooLong

FAMILY = "👩\u200d👩\u200d👧\u200d👦"
HEART_ON_FIRE = "❤\ufe0f\u200d🔥"
SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


class TestShortIds:
    @pytest.mark.parametrize(
        ("number", "text"),
        [(0, "0"), (1, "1"), (10, "a"), (31, "z"), (32, "10"), (1023, "zz"), (19567, "k3f")],
    )
    def test_is_crockford_base32_without_padding(self, number: int, text: str) -> None:
        assert short_id(number) == text
        assert parse_short_id(text) == number

    def test_the_largest_number_of_the_database_fits(self) -> None:
        assert parse_short_id(short_id(2**63 - 1)) == 2**63 - 1
        assert parse_short_id(short_id(2**63)) is None

    @pytest.mark.parametrize("text", ["#k3f", "K3F", "#K3F", "00k3f"])
    def test_tolerates_mark_case_and_zeros(self, text: str) -> None:
        assert parse_short_id(text) == 19567

    @pytest.mark.parametrize(
        ("typed", "meant"), [("o", "0"), ("O", "0"), ("i", "1"), ("L", "1"), ("koil", "k011")]
    )
    def test_reads_what_looks_alike(self, typed: str, meant: str) -> None:
        assert parse_short_id(typed) == parse_short_id(meant)

    @pytest.mark.parametrize(
        "text",
        ["", "#", "##k3f", "u", "k-3", "k3f.", " k3f", "é", "\u212a", "٣", "1" * 14, "z" * 13],
    )
    def test_none_for_what_is_no_id(self, text: str) -> None:
        assert parse_short_id(text) is None

    def test_refuses_a_negative_number(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            short_id(-1)

    def test_message_id_has_the_epoch(self) -> None:
        assert message_id(19567, "7h2m9q") == "k3f.7h2m9q"
        assert parse_message_id("k3f.7h2m9q") == (19567, "7h2m9q")

    @pytest.mark.parametrize(
        "text",
        ["k3f", "k3f.", ".7h2m9q", "#k3f.7h2m9q", "K3F.7h2m9q", "0k3f.7h2m9q", "kof.7h2m9q",
         "k3f.7h2m9q.d", "k3f.7h2m9q\n", "zzzzzzzzzzzzz.7h2m9q"],
    )  # fmt: skip
    def test_other_message_ids_are_not_ours(self, text: str) -> None:
        assert parse_message_id(text) is None


class TestClean:
    @pytest.mark.parametrize(
        "text",
        [
            "hello, world",
            "  a leading space is kept",
            "tabs\tand\nlines",
            "Zoë naïve 東京 Ελληνικά",
            FAMILY,
            HEART_ON_FIRE,
            "👩🏽\u200d🚀",
            SCOTLAND,
            "می\u200cخواهم",  # Persian: the non-joiner is part of the spelling
            "ه\u200c ",  # Sorani Kurdish: the vowel e at the end of a word
            "ശ്രീ അവന്\u200d",  # Malayalam: a chillu in the old spelling
            "ක්\u200dෂ",  # Sinhala: a conjunct
            "שלום!\u200f",  # Hebrew: the mark keeps the ! on its side
            "\U0001fffe private\ue000",
        ],
    )
    def test_keeps_what_people_write(self, text: str) -> None:
        assert clean(text) == text

    @pytest.mark.parametrize(
        ("text", "cleaned"),
        [
            ("a\x00b\x07c\x1bd\x7fe\x9bf", "abcdef"),
            ("a\ud800b\udfffc", "a\ufffdb\ufffdc"),
            ("a\ufffeb\uffffc", "a\ufffdb\ufffdc"),
            ("a\r\nb\rc\u0085d\u2028e\u2029f\vg\fh", "a\nb\nc\nd\ne\nf\ng\nh"),
            ("\r\n\r\n", "\n\n"),
            ("user\u202egpj.exe", "usergpj.exe"),
            ("\u2066a\u2067b\u2068c\u2069\u202ad\u202be\u202cf\u202dg", "abcdefg"),
            ("v\u200bi\u2060a\ufeffg\u00adra", "viagra"),
            ("pay\u200dpal \u200cx", "paypal x"),  # a joiner means nothing among Latin letters
            ("می\u200c\u200c\u200dخواهم", "می\u200cخواهم"),
            ("\u200d\U0001f469", "\U0001f469"),
            ("hi\U000e0068\U000e0069\U000e007f", "hi"),
            ("🏴\U000e0068", "🏴"),
            ("a\ufff9b\ufffac\ufffbd\u206ae", "abcde"),
        ],
    )
    def test_takes_away_what_hides_or_breaks(self, text: str, cleaned: str) -> None:
        assert clean(text) == cleaned

    def test_a_name_is_one_line_without_invisible_marks(self) -> None:
        assert clean_line("  Alice\r\n \t B\u200fob\u3000") == "Alice Bob"
        assert clean_line(f"\u061c{FAMILY} می\u200cخواهم") == f"{FAMILY} می\u200cخواهم"
        assert clean_line("\u200e\n") == ""


class TestLimits:
    @pytest.mark.parametrize(
        "text", ["", " ", "\n\t ", "\u3000", "\u2800\u3164", "\u200e\u200f", "\ufe0f\u034f"]
    )
    def test_nothing_to_see_is_no_post(self, text: str) -> None:
        assert is_blank(text)
        with pytest.raises(BadRequest):
            check_length(text)

    def test_characters_at_the_limit_pass_and_one_more_does_not(self) -> None:
        check_length("a" * 2000)
        with pytest.raises(TooLong) as caught:
            check_length("a" * 2431)
        assert "2,431 characters" in caught.value.sentence
        assert "2,000" in caught.value.sentence
        with pytest.raises(TooLong):
            check_length("a" * 2001)

    def test_the_operator_sets_the_number_of_characters(self) -> None:
        check_length("a" * 5, 5)
        with pytest.raises(TooLong, match=r"6 characters; a post may have 5"):
            check_length("a" * 6, 5)

    def test_characters_are_code_points_and_four_bytes_each_still_fit(self) -> None:
        check_length("😀" * 2000)

    @pytest.mark.parametrize(
        ("char", "bytes_each"),
        [("&", 5), ("<", 4), (">", 4), ('"', 6), ("'", 6), ("é", 2), ("a", 1)],
    )
    def test_bytes_count_as_escaped(self, char: str, bytes_each: int) -> None:
        most = MAX_XML_BYTES // bytes_each
        check_length(char * most, 10_000)
        with pytest.raises(TooLong, match=r"bytes as XML; a post may take 8,000"):
            check_length(char * most + "a" * bytes_each, 10_000)


class TestLanguageTags:
    @pytest.mark.parametrize(
        "tag",
        ["de", "EN", "pt-BR", "zh-Hant-TW", "sl-rozaj-biske", "es-419", "de-CH-1996", "sr-Latn",
         "zh-cmn-Hans-CN", "en-u-ca-gregory", "en-x-relay", "nan", "de-DE-u-co-phonebk"],
    )  # fmt: skip
    def test_kept_as_given(self, tag: str) -> None:
        assert language_tag(tag) == tag

    @pytest.mark.parametrize(
        "text",
        ["", "d", "english", "en_US", "en-", "-en", "en--US", "en US", "dé", "x", "12", "en-u",
         "de-DE-DE-DE-x", "en\n", "en-" + "x-" + "a" * 40, "barrier"],
    )  # fmt: skip
    def test_none_for_what_is_no_tag(self, text: str) -> None:
        assert language_tag(text) is None

    def test_at_most_35_characters(self) -> None:
        tag = "en-x-" + "-".join(["aaaaaaaa"] * 3) + "-aaa"
        assert len(tag) == 35
        assert language_tag(tag) == tag
        assert language_tag(tag + "a") is None


class TestNoise:
    @pytest.mark.parametrize(
        "text",
        [
            "?OTRv3?\nalice has requested an Off-the-Record private conversation",
            "?OTR?",
            "?OTR?v2?",
            "?OTRv24x?",
            "?OTR:AAMC8YEl6cxmNL4AAAAgkmLrXmAW.",
            "?OTR,1,3,?OTR:AAEDAAAA,",
            "?OTR|5a73a599|27e31597,00001,00003,x,",
            "?OTR Error: you sent encrypted data",
        ],
    )
    def test_otr(self, text: str) -> None:
        assert noise(text) is Noise.OTR

    @pytest.mark.parametrize(
        "text",
        [
            "I sent you an OMEMO encrypted message but your client doesn’t seem to support that. "
            "Find more information on https://conversations.im/omemo",
            "I sent you a PGP encrypted message but your client doesn’t seem to support that.",
            "You received a message encrypted with OMEMO but your client doesn't support OMEMO.",
            "This is an OMEMO encrypted message which your client doesn’t seem to support. "
            "Find more information on https://conversations.im/omemo",
            "[This message is OMEMO encrypted]",
            "This message is OMEMO encrypted.",
            "[This message is OpenPGP encrypted (see XEP-0027)]",
            "[This message is *encrypted* (See :XEP:`27`]",
            "[Diese Nachricht ist *verschlüsselt*] ([This message is *encrypted* (See :XEP:`27`])",
            "This message is *encrypted* with OpenPGP (See :XEP:`0373`)",
            "[This message is encrypted.]",
            "This message is encrypted with Legacy OpenPGP (jabber:x:encrypted)",
            "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----",
        ],
    )
    def test_fallback_of_an_encrypted_message(self, text: str) -> None:
        assert noise(text) is Noise.ENCRYPTED

    @pytest.mark.parametrize(
        "text", ["[Auto-Reply] I am away", "<AUTO-REPLY> lunch", "Automatic reply: back on Monday"]
    )
    def test_automatic_reply_that_says_so(self, text: str) -> None:
        assert noise(text) is Noise.AUTOMATIC

    @pytest.mark.parametrize(
        "text",
        [
            "hello",
            "",
            "?OTR is an old protocol",
            "This message is encrypted with love",
            "This message is not encrypted",
            "I sent you an encrypted letter by post",
            "Why do I get 'You received a message encrypted with OMEMO but your client doesn't "
            "support OMEMO.'?",
            "Auto-replies are a plague",
            "automatic transmission for sale",
            "I am away from my computer right now",
        ],
    )
    def test_what_people_write_is_none(self, text: str) -> None:
        assert noise(text) is None


@pytest.mark.parametrize("edit", [1, 5, 9999, None])
def test_the_id_of_a_change_is_read_back(edit: int | None) -> None:  # S9.1
    name = change_id(19567, "3p0c4s", edit)
    assert name == ("k3f.3p0c4s.d" if edit is None else f"k3f.3p0c4s.e{edit}")
    assert parse_change_id(name) == (19567, "3p0c4s", edit)
    assert parse_message_id(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "", ".d", "k3f.3p0c4s", "k3f.d", "k3f.3p0c4s.e0", "k3f.3p0c4s.e", "k3f.3p0c4s.e01",
        "K3F.3p0c4s.e1", "k3f.3p0c4s.e1.d", "k3f.3p0c4s.x", "k3f.3p0c4s.d ", "k3f.3p0c4s.e10000",
    ],
)  # fmt: skip
def test_what_is_no_id_of_a_change(name: str) -> None:
    assert parse_change_id(name) is None
