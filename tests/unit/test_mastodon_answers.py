"""What servers with Mastodon's API answer, and what it means: limits, profiles, results."""

from datetime import UTC, datetime, timedelta, timezone
from json import dumps
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.primary import Caps, Dedupe, Outcome, Scope, Status, Visibility
from xmpprelay.primary.answers import Answer
from xmpprelay.primary.mastodon.instance import nodeinfo_path, site_of, software_of
from xmpprelay.primary.mastodon.meaning import candidate_of, done, refusal, time_of
from xmpprelay.primary.mastodon.profiles import UNKNOWN, profile_of

NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC)
HOUR_S = 3600.0

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            [
                "links", "rel", "href", "software", "name", "configuration", "statuses",
                "max_characters", "media_attachments", "supported_mime_types", "version", "id",
                "mentions", "acct", "created_at", "url", "error",
            ]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


def caps_of(software: str, instance: dict[str, Any]) -> Caps:
    return site_of(software, instance).caps


# --- which server it is --------------------------------------------------------------------------


def test_nodeinfo_is_asked_at_the_same_server() -> None:
    links = {
        "links": [
            {"rel": "self", "href": "https://elsewhere.example/x"},
            {
                "rel": "http://nodeinfo.diaspora.software/ns/schema/2.1",
                "href": "https://elsewhere.example/api/nodeinfo/2.1.json",
            },
        ]
    }
    assert nodeinfo_path(links) == "/api/nodeinfo/2.1.json"


@pytest.mark.parametrize(
    "href", ["https://[", "https://x.example", "/a?b", "/a b", "/%2e%2e", None, 7]
)
def test_a_strange_address_of_nodeinfo_is_left_aside(href: object) -> None:
    rel = "http://nodeinfo.diaspora.software/ns/schema/2.0"
    path = nodeinfo_path({"links": [None, {"rel": rel, "href": href}]})
    assert path == ("/a" if href == "/a?b" else "/nodeinfo/2.0")


def test_the_software_is_known_by_its_name() -> None:
    assert software_of({"software": {"name": "GoToSocial", "version": "0.20"}}) == "gotosocial"
    for strange in (None, [], {"software": "mastodon"}, {"software": {"name": 3}}):
        assert software_of(strange) == ""
    assert profile_of("akkoma") is profile_of("pleroma")
    assert profile_of("glitter") is UNKNOWN


def test_what_a_server_says_of_its_limits_is_taken() -> None:
    instance = {
        "configuration": {
            "statuses": {
                "max_characters": 777,
                "max_media_attachments": 6,
                "characters_reserved_per_url": 25,
            },
            "media_attachments": {
                "supported_mime_types": ["image/png", "x", 3],
                "image_size_limit": 99,
            },
        }
    }
    caps = caps_of("gotosocial", instance)
    assert (caps.max_chars, caps.max_media, caps.url_weight) == (777, 6, 25)
    assert (caps.max_media_bytes, caps.media_types) == (99, {"image/png"})


def test_pleroma_says_it_in_its_own_way() -> None:
    caps = caps_of("pleroma", {"max_toot_chars": 5000, "upload_limit": 16_000_000})
    assert (caps.max_chars, caps.url_weight, caps.max_media_bytes) == (5000, None, 16_000_000)


@pytest.mark.parametrize("number", [0, -1, True, "500", 1.5, 1 << 70, None, []])
def test_what_cannot_be_a_limit_is_the_one_of_old(number: object) -> None:
    statuses = {
        "max_characters": number,
        "max_media_attachments": number,
        "characters_reserved_per_url": number,
    }
    caps = caps_of("mastodon", {"configuration": {"statuses": statuses}})
    assert (caps.max_chars, caps.max_media, caps.url_weight) == (500, 4, 23)
    assert caps == caps_of("mastodon", {})


def test_each_kind_of_server_has_its_own_ways() -> None:
    mastodon, pleroma = caps_of("mastodon", {}), caps_of("akkoma", {})
    gotosocial, takahe = caps_of("gotosocial", {}), caps_of("takahe", {})
    assert (mastodon.dedupe, mastodon.window_s) == (Dedupe.WINDOW, HOUR_S)
    assert (pleroma.dedupe, pleroma.window_s) == (Dedupe.WINDOW, 6 * HOUR_S)
    assert (gotosocial.dedupe, takahe.dedupe) == (Dedupe.NONE, Dedupe.NONE)
    assert [caps.backdate for caps in (mastodon, pleroma, gotosocial, takahe)] == [
        False, False, True, False,
    ]  # fmt: skip
    assert takahe.edits == {Visibility.PUBLIC}
    assert takahe.shows == {Visibility.PUBLIC, Visibility.UNLISTED}
    assert all(caps.names for caps in (mastodon, pleroma, gotosocial, takahe))


def test_an_unknown_server_is_trusted_with_little() -> None:
    old, new = caps_of("glitter", {"version": "3.4.9"}), caps_of("", {"version": "4.2.0 (x 1)"})
    assert (old.software, new.software) == ("glitter", "unknown")
    assert (old.dedupe, old.backdate, old.edits) == (Dedupe.NONE, False, frozenset())
    assert new.edits == {Visibility.PUBLIC}


@pytest.mark.parametrize(
    ("software", "most", "period_s"),
    [
        ("mastodon", 300, 3 * HOUR_S),
        ("pleroma", 15, 10.0),
        ("gotosocial", 300, 300.0),
        ("glitter", 300, 300.0),
    ],
)
def test_within_any_period_a_tenth_of_a_limit_is_left(
    software: str, most: int, period_s: float
) -> None:
    caps = caps_of(software, {})
    rate = caps.account_rate or caps.site_rate
    assert rate is not None
    assert rate.burst >= 1.0
    assert rate.burst + rate.per_second * period_s == pytest.approx(0.9 * most)


@given(JSON)
def test_no_answer_about_a_server_raises(found: Any) -> None:
    assert nodeinfo_path(found).startswith("/")
    instance = found if isinstance(found, dict) else {}
    caps = caps_of(software_of(found), instance)
    assert caps.max_chars is not None
    assert caps.max_chars > 0


# --- what answers mean ---------------------------------------------------------------------------


def answer(status: int, body: object = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, b"" if body is None else dumps(body).encode(), NOW)


@pytest.mark.parametrize(
    ("status", "outcome", "scope"),
    [
        (100, Outcome.UNKNOWN, Scope.POST),
        (302, Outcome.UNKNOWN, Scope.POST),
        (400, Outcome.REJECTED, Scope.POST),
        (401, Outcome.AUTH, Scope.ACCOUNT),
        (403, Outcome.REJECTED, Scope.POST),
        (404, Outcome.REJECTED, Scope.POST),
        (408, Outcome.UNKNOWN, Scope.POST),
        (409, Outcome.UNKNOWN, Scope.POST),
        (413, Outcome.REJECTED, Scope.POST),
        (415, Outcome.REJECTED, Scope.POST),
        (422, Outcome.REJECTED, Scope.POST),
        (425, Outcome.UNKNOWN, Scope.POST),
        (499, Outcome.UNKNOWN, Scope.POST),
        (500, Outcome.UNKNOWN, Scope.DRIVER),
        (502, Outcome.UNKNOWN, Scope.DRIVER),
        (503, Outcome.UNKNOWN, Scope.DRIVER),
        (504, Outcome.UNKNOWN, Scope.DRIVER),
        (599, Outcome.UNKNOWN, Scope.DRIVER),
        (999, Outcome.UNKNOWN, Scope.DRIVER),
    ],
)
def test_a_status_that_is_no_success_means_this(
    status: int, outcome: Outcome, scope: Scope
) -> None:
    result = refusal(answer(status, {"error": "No."}), UNKNOWN, ())
    assert result is not None
    assert (result.outcome, result.scope, result.reason) == (outcome, scope, f"http_{status}")
    assert result.detail == "No."
    assert result.retry_after_s is None


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206])
def test_a_success_is_no_refusal(status: int) -> None:
    assert refusal(answer(status), UNKNOWN, ()) is None


def test_a_limit_is_of_the_account_or_of_the_whole_server() -> None:
    limited = answer(429, x_ratelimit_reset="90", x_ratelimit_remaining="0")
    for software, scope in (("mastodon", Scope.ACCOUNT), ("gotosocial", Scope.DRIVER)):
        result = refusal(limited, profile_of(software), ())
        assert result is not None
        assert (result.outcome, result.scope) == (Outcome.RETRY, scope)
        assert (result.reason, result.retry_after_s) == ("rate_limited", 90.0)
        assert (result.left, result.left_for_s) == (0, 90.0)


def test_a_503_is_put_off_only_where_it_says_until_when() -> None:
    put_off = refusal(answer(503, retry_after="90"), UNKNOWN, ())
    assert put_off is not None
    assert (put_off.outcome, put_off.scope) == (Outcome.RETRY, Scope.DRIVER)
    assert put_off.retry_after_s == 90.0
    for header in ({"x_ratelimit_reset": "90"}, {"retry_after": "soon"}):
        unclear = refusal(answer(503, **header), UNKNOWN, ())
        assert unclear is not None
        assert unclear.outcome is Outcome.UNKNOWN


def test_no_token_is_in_a_result() -> None:
    refused = refusal(answer(401, {"error": "The token s3cr3t is revoked"}), UNKNOWN, ("s3cr3t",))
    assert refused is not None
    assert refused.detail == "The token … is revoked"


def status(*mentions: str) -> Status:
    return Status(
        id="k3f.ab12cd",
        atom_id="tag:relay.example,2026:k3f.ab12cd",
        author="alice@example.org",
        handle="alice",
        text="tea",
        published=NOW,
        mentions=mentions,
    )


def test_a_status_that_was_made_has_an_id_an_address_and_a_time() -> None:
    made = answer(
        200,
        {
            "id": "01H",
            "url": "https://social.example/@alice/01H",
            "created_at": "2026-11-22T21:00:00.5+01:00",
            "mentions": [],
        },
        x_ratelimit_remaining="7",
        x_ratelimit_reset="90",
    )
    result = done(made, status())
    assert (result.outcome, result.remote_id, result.reason) == (Outcome.INSERTED, "01H", "")
    assert result.remote_url == "https://social.example/@alice/01H"
    assert result.remote_time == NOW + timedelta(seconds=0.5)
    assert (result.left, result.left_for_s) == (7, 90.0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "no_id"),
        ({"id": None}, "no_id"),
        ({"id": ""}, "no_id"),
        ({"id": ".."}, "no_id"),
        ({"id": "a b"}, "no_id"),
        ({"id": "x" * 201}, "no_id"),
        ({"id": True}, "no_id"),
        ([{"id": "1"}], "not_json"),
        ("1", "not_json"),
        (None, "not_json"),
    ],
)
def test_a_success_without_an_id_is_unclear(body: object, reason: str) -> None:
    result = done(answer(200, body))
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, reason)


def test_only_what_is_an_address_or_a_time_is_told() -> None:
    strange = candidate_of({"id": 7, "url": "javascript:alert(1)", "created_at": "yesterday"})
    assert strange is not None
    assert (strange.remote_id, strange.remote_url, strange.remote_time) == ("7", None, None)
    for url in ("https://[", "//x", "https://", "https://x.example/\n", 3):
        assert candidate_of({"id": "7", "url": url}).remote_url is None  # type: ignore[union-attr]
    uri = candidate_of({"id": "7", "url": None, "uri": "https://x.example/7"})
    assert uri is not None
    assert uri.remote_url == "https://x.example/7"


def test_a_time_without_a_zone_is_utc() -> None:
    assert time_of({"created_at": "2026-11-22T20:00:00"}) == NOW
    assert time_of({"created_at": NOW.astimezone(timezone(timedelta(hours=9))).isoformat()}) == NOW
    assert time_of({"created_at": "0001-01-01T00:00:00+23:00"}) is None


@pytest.mark.parametrize(
    ("meant", "acct", "others"),
    [
        ((), "bob", True),
        ((), "bob@far.example", True),
        (("bob@social.example",), "bob", False),
        (("@Bob@social.example",), "bob@social.example", False),
        (("bob@social.example",), "bob@far.example", True),
        (("bob@social.example",), "eve", True),
    ],
)
def test_whom_it_mentions_besides_is_told(meant: tuple[str, ...], acct: str, others: bool) -> None:
    made = answer(200, {"id": "1", "mentions": [None, {"acct": 3}, {"acct": acct}]})
    result = done(made, status(*meant))
    assert result.outcome is Outcome.INSERTED
    assert result.reason == ("mentions_others" if others else "")
    assert result.detail == (f"It mentions {acct} there." if others else "")


@given(st.integers(100, 999), JSON, st.text(max_size=20))
def test_every_answer_means_one_thing(code: int, body: Any, header: str) -> None:
    came = answer(code, body, retry_after=header, x_ratelimit_remaining=header)
    result = refusal(came, UNKNOWN, ("token",)) or done(came, status("bob@social.example"))
    assert len(result.detail) <= 200
    assert (result.outcome is Outcome.INSERTED) == (result.remote_id is not None)
