"""How webhooks are named and signed (primary/webhook.py), verified by somebody else's library."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from xmpprelay.primary.webhook import CREATED, DELETED, UPDATED, event_id, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
NOON = datetime(2024, 5, 17, 12, 0, 0, 123_000, tzinfo=UTC)

post_ids = st.from_regex(r"[0-9a-hjkmnp-tv-z]{1,13}\.[0-9a-z]{6}(\.[1-9])?", fullmatch=True)


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def test_the_signature_is_that_of_the_specification() -> None:
    event, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(KEY, event, 1614265330, body) == expected


@given(key=st.binary(min_size=24, max_size=64), post=post_ids, body=st.text(), other=st.text())
def test_whoever_has_the_secret_knows_what_is_ours(
    key: bytes, post: str, body: str, other: str
) -> None:
    event, sent = event_id(post, CREATED), now()
    headers = {
        "webhook-id": event,
        "webhook-timestamp": str(sent),
        "webhook-signature": signature(key, event, sent, body.encode()),
    }
    receiver = Webhook(key)
    receiver.verify(body.encode(), headers, json_parse=False)
    wrong = [
        (body + "x", headers),
        (body, headers | {"webhook-id": event_id(post, DELETED)}),
        (body, headers | {"webhook-timestamp": str(sent - 1)}),
    ]
    for text, given_headers in wrong:
        with pytest.raises(WebhookVerificationError):
            receiver.verify(text.encode(), given_headers, json_parse=False)


def test_an_event_is_named_by_what_has_happened_to_which_post() -> None:
    assert event_id("k3f.ab12cd", CREATED) == "k3f-ab12cd-created"
    assert event_id("k3f.ab12cd.2", CREATED) == "k3f-ab12cd-2-created"
    assert event_id("k3f.ab12cd", UPDATED, NOON) == "k3f-ab12cd-updated-1715947200123"
    assert event_id("k3f.ab12cd", DELETED) == "k3f-ab12cd-deleted"


@given(
    st.lists(post_ids, unique=True, min_size=2, max_size=2), st.datetimes(timezones=st.just(UTC))
)
def test_no_two_events_have_the_same_name_and_none_a_full_stop(
    posts: list[str], time: datetime
) -> None:
    names = [
        name
        for post in posts
        for name in (
            event_id(post, CREATED),
            event_id(post, UPDATED, time),
            event_id(post, UPDATED, NOON),
            event_id(post, DELETED),
        )
        if time != NOON
    ]
    assert len(set(names)) == len(names)
    assert not any("." in name for name in names)
