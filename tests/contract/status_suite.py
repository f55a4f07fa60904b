"""What a driver of Mastodon's API has to do for the trickle, besides what every driver has.

Its service is a scripted primary, so that each answer can be provoked: what is seen, and what it
means; what is stored; what a look finds, where it can only compare texts.
"""

import unicodedata
from dataclasses import replace
from typing import Protocol

import pytest

from tests.contract.primary_suite import (
    Bench,
    UnclearSuite,
    attempt,
    ids,
    insert,
    status,
    texts,
)
from tests.primaries import faults
from tests.primaries.clock import Clock
from tests.primaries.faults import Fault, How, Op
from tests.primaries.world import World
from xmpprelay.core.primary import (
    Absent,
    CannotTell,
    Dedupe,
    File,
    LookFailed,
    Outcome,
    Reach,
    Result,
    Scope,
    Visibility,
)

SETTLE_S = 60.0

UNCLEAR_REASONS = {
    How.HANG: ("timeout",),
    How.SLOW: ("timeout",),
    How.RESET: ("reset",),
    How.CLOSE: ("reset",),
}

MEANINGS = (
    (faults.ERROR_500, Outcome.UNKNOWN),
    (faults.HANG, Outcome.UNKNOWN),
    (faults.RESET, Outcome.UNKNOWN),
    (faults.MOVED, Outcome.UNKNOWN),
    (faults.ERROR_503_WAIT, Outcome.RETRY),
    (faults.LIMITED_ISO, Outcome.RETRY),
    (faults.UNPROCESSABLE, Outcome.REJECTED),
    (faults.REVOKED, Outcome.AUTH),
)

MANGLED = [
    "two  spaces,\ttabs and trailing ones  ",
    "line\r\nline\n\n\nparagraph",
    "e\u0301 and \u212b, not composed",
    "❤\ufe0f ☕\ufe0f 👩\u200d🚀 :blobcat:",
    "<b>1 < 2 & 3 > 2</b> &amp; \"quoted\" 'so'",
    "https://example.org/a/long/path/that/is/cut?with=a&query=b#and-a-fragment (and more)",
    "@alice@example.org and @\u2060bob, #tag and a mail to carol@example.org",
]

PICTURE = File("cat.png", "image/png", b"\x89PNG\r\n\x1a\n")


def mangled(text: str) -> str:
    """What a service may make of a text: white space, composition, variants of emoji."""
    return " ".join(unicodedata.normalize("NFC", text).replace("\ufe0f", "").split())


class StatusBench(Bench, Protocol):
    """One of Mastodon's API, with a scripted primary behind it."""

    world: World
    clock: Clock  # the world's, and the driver's

    async def meet(self, *what: Fault, op: Op = Op.INSERT) -> None:
        """What the next requests of that kind meet."""


def shows_nothing(bench: Bench, result: Result) -> None:
    """That no secret and no HTML is in a result."""
    assert len(result.detail) <= 200
    assert "<" not in result.detail
    assert "\n" not in result.detail
    assert bench.secret not in repr(result)
    assert result.reason.replace("_", "").isalnum()


class StatusSuite(UnclearSuite):
    """For drivers of Mastodon's API: what is seen, and what it means; and what a look finds."""

    # --- Seen, and meant (docs/decisions.md) -----------------------------------------------------

    async def test_unclear_is_unknown_until_a_look_tells(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        for fault in faults.UNCLEAR:
            new = status(bench, f"after {fault.name}")
            asked = attempt(bench, new)
            await bench.meet(fault)
            result = await bench.primary.insert(bench.account, new, f"key for {fault.name}")
            assert result.outcome is Outcome.UNKNOWN, fault
            reasons = UNCLEAR_REASONS.get(fault.how, (f"http_{fault.status}", "no_id", "not_json"))
            assert result.reason in reasons[: None if fault.status == 200 else 1], fault
            fails = fault.how is not How.ANSWER or (fault.status or 0) >= 500
            assert (result.scope is Scope.DRIVER) == fails, fault
            shows_nothing(bench, result)
            await bench.clock.sleep(SETTLE_S)
            there = [each.id for each in bench.world.stored() if each.text == new.text]
            assert len(there) == (fault.done or fault.late_s is not None), fault
            look = await bench.primary.reconcile(bench.account, asked)
            assert ids(look) == there if there else look == Absent(), fault

    async def test_later_is_later(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        by_address = bench.caps.site_rate is not None
        for fault in faults.LATER:
            if fault.how is not How.ANSWER:
                continue
            await bench.meet(fault)
            result = await bench.primary.insert(bench.account, status(bench, "later"), "key")
            assert result.outcome is Outcome.RETRY, fault
            said_s = fault.wait_s if fault.reset or fault.retry_after else None
            assert result.retry_after_s == pytest.approx(said_s, abs=1.1), fault
            whole = fault.status == 503 or by_address
            assert result.scope is (Scope.DRIVER if whole else Scope.ACCOUNT), fault
            assert result.reason == ("http_503" if fault.status == 503 else "rate_limited"), fault
            shows_nothing(bench, result)
            await bench.clock.sleep(SETTLE_S)
        assert await bench.stored() == []

    async def test_nobody_is_left_alone_for_no_time_or_for_days(self, bench: StatusBench) -> None:
        for said_s, meant_s in ((0.0, 1.0), (1e6, 6 * 3600.0)):
            for fault in (faults.LIMITED_WAIT, faults.LIMITED_ISO, faults.LIMITED_WAIT_DATE):
                await bench.meet(replace(fault, wait_s=said_s))
                result = await bench.primary.insert(bench.account, status(bench, "later"), "key")
                assert result.retry_after_s == meant_s, fault

    async def test_a_refusal_is_one(self, bench: StatusBench) -> None:
        for fault in faults.REFUSALS:
            await bench.meet(fault)
            result = await bench.primary.insert(bench.account, status(bench, "no"), "key")
            assert (result.outcome, result.scope) == (Outcome.REJECTED, Scope.POST), fault
            assert result.reason == f"http_{fault.status}"
            shows_nothing(bench, result)

    async def test_a_token_that_does_not_hold_is_told_from_a_bad_post(
        self, bench: StatusBench
    ) -> None:
        _, made = await insert(bench, "before")
        assert made.remote_id
        new, account = status(bench, "after"), bench.account
        bench.world.revoke(account)
        results = [
            await bench.primary.insert(account, new, "key"),
            await bench.primary.edit(account, made.remote_id, new, "edit"),
            await bench.primary.delete(account, made.remote_id),
            await bench.primary.upload(account, PICTURE),
        ]
        look = await bench.primary.reconcile(account, attempt(bench, new))
        assert isinstance(look, LookFailed)
        for result in (*results, look.result):
            assert (result.outcome, result.scope) == (Outcome.AUTH, Scope.ACCOUNT), result
            shows_nothing(bench, result)
        probe = await bench.primary.probe(account)
        assert (probe.reach, bool(probe.reason)) == (Reach.AUTH, True)
        assert (await bench.primary.probe()).reach is Reach.UP
        assert await texts(bench) == ["before"]

    async def test_a_401_needs_no_second_opinion(self, bench: StatusBench) -> None:
        await bench.meet(faults.REVOKED)
        result = await bench.primary.insert(bench.account, status(bench, "no"), "key")
        assert (result.outcome, result.scope) == (Outcome.AUTH, Scope.ACCOUNT)

    async def test_while_nobody_can_say_whose_fault_it_is_a_post_waits(
        self, bench: StatusBench
    ) -> None:
        for fault in (faults.ERROR_500, faults.RESET, faults.PAGE, faults.LIMITED_WAIT):
            await bench.meet(faults.FORBIDDEN)
            await bench.meet(fault, op=Op.VERIFY)
            result = await bench.primary.insert(bench.account, status(bench, "no?"), "key")
            assert (result.outcome, result.scope) == (Outcome.RETRY, Scope.ACCOUNT), fault
            assert (result.retry_after_s is not None) == (fault is faults.LIMITED_WAIT)
            assert result.reason == "http_403"

    async def test_a_probe_of_what_fails_finds_it_down(self, bench: StatusBench) -> None:
        for fault in (faults.ERROR_500, faults.ERROR_502, faults.ERROR_503, faults.PAGE):
            for op, account in ((Op.INSTANCE, None), (Op.VERIFY, bench.account)):
                await bench.meet(*[fault] * 4, op=op)
                probe = await bench.primary.probe(account)
                assert probe.reach is Reach.DOWN, (fault, op)
                assert probe.reason
                assert probe.detail
                assert "<" not in probe.detail
                await bench.mend()

    async def test_what_is_never_stored_looks_as_if_it_were(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        new = status(bench, "buy this")
        await bench.meet(faults.ANTISPAM)
        result = await bench.primary.insert(bench.account, new, "key")
        assert result.outcome is Outcome.INSERTED
        assert await bench.stored() == []
        assert await bench.primary.reconcile(bench.account, attempt(bench, new)) == Absent()

    async def test_edits_deletions_and_uploads_mean_the_same(self, bench: StatusBench) -> None:
        new, made = await insert(bench, "here")
        assert made.remote_id
        edited = replace(new, text="there")
        for fault, outcome in MEANINGS:
            for op in (Op.EDIT, Op.DELETE, Op.UPLOAD):
                await bench.meet(fault, op=op)
            results = [
                await bench.primary.edit(bench.account, made.remote_id, edited, "edit"),
                await bench.primary.delete(bench.account, made.remote_id),
                await bench.primary.upload(bench.account, PICTURE),
            ]
            assert [each.outcome for each in results] == [outcome] * 3, fault
        assert await texts(bench) == ["here"]

    async def test_an_edit_of_nothing_is_refused(self, bench: StatusBench) -> None:
        new, made = await insert(bench, "here")
        assert made.remote_id
        await bench.primary.delete(bench.account, made.remote_id)
        result = await bench.primary.edit(bench.account, made.remote_id, new, "edit")
        assert (result.outcome, result.reason) == (Outcome.REJECTED, "http_404")

    async def test_an_edit_that_would_show_more_is_not_asked_for(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        for visibility in Visibility:
            new, made = await insert(bench, "to some", visibility=visibility)
            assert made.remote_id
            edited = replace(new, text="to whom?")
            result = await bench.primary.edit(bench.account, made.remote_id, edited, "edit")
            safe = visibility in bench.caps.edits
            assert result.outcome is (Outcome.INSERTED if safe else Outcome.REJECTED)
            assert result.reason == ("" if safe else "edit_unsafe")
        assert bench.world.requests[Op.EDIT] == len(bench.caps.edits)
        assert [each.visibility for each in await bench.stored()] == list(Visibility)

    # --- What is stored --------------------------------------------------------------------------

    async def test_every_visibility_is_said_and_kept(self, bench: StatusBench) -> None:
        for visibility in Visibility:
            await insert(bench, "who sees it?", visibility=visibility)
        assert [each.visibility for each in await bench.stored()] == list(Visibility)

    async def test_the_result_says_where_and_when(self, bench: StatusBench) -> None:
        _, made = await insert(bench, "here")
        [stored] = bench.world.stored()
        assert made.remote_id == stored.id
        assert made.remote_url == f"{bench.world.site}/@{stored.account}/{stored.id}"
        assert made.remote_time == bench.utc()

    async def test_an_attachment_is_uploaded_first(self, bench: StatusBench) -> None:
        uploaded = await bench.primary.upload(bench.account, PICTURE)
        assert uploaded.outcome is Outcome.INSERTED
        assert uploaded.remote_id in bench.world.media
        await insert(bench, "look", media=(uploaded.remote_id,))
        assert bench.world.stored()[0].media == (uploaded.remote_id,)
        again = status(bench, "look", media=(uploaded.remote_id,))
        result = await bench.primary.insert(bench.account, again, "another key")
        refused = bench.world.profile.used_media
        assert result.outcome is (Outcome.REJECTED if refused else Outcome.INSERTED)
        assert result.reason == (f"http_{refused}" if refused else "")

    async def test_a_reply_to_nothing_is_refused_or_stands_alone(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        _, parent = await insert(bench, "gone soon")
        assert parent.remote_id
        await bench.primary.delete(bench.account, parent.remote_id)
        reply = status(bench, "to nobody", in_reply_to=parent.remote_id)
        result = await bench.primary.insert(bench.account, reply, "key")
        refused = bench.world.profile.no_parent
        assert result.outcome is (Outcome.REJECTED if refused else Outcome.INSERTED)
        assert [each.parent for each in await bench.stored()] == ([] if refused else [""])
        look = await bench.primary.reconcile(bench.account, attempt(bench, reply))
        assert look == Absent() if refused else ids(look) == [result.remote_id]

    async def test_an_unknown_language_is_left_out(self, bench: StatusBench) -> None:
        new = status(bench, "nuqneH", language="tlh")
        result = await bench.primary.insert(bench.account, new, "key")
        assert result.outcome is Outcome.INSERTED
        assert [each.language for each in await bench.stored()] == [""]
        again = await bench.primary.insert(bench.account, new, "key")
        assert (again.remote_id == result.remote_id) == (bench.caps.dedupe is Dedupe.WINDOW)
        assert result.remote_id
        edited = replace(new, text="Qapla'")
        result = await bench.primary.edit(bench.account, result.remote_id, edited, "edit")
        assert result.outcome is Outcome.INSERTED
        assert (await texts(bench))[0] == "Qapla'"

    async def test_a_refusal_with_a_language_is_tried_once_without(
        self, bench: StatusBench
    ) -> None:
        new = status(bench, "no", language="en")
        await bench.meet(faults.BAD_REQUEST, faults.HANG_DONE)
        result = await bench.primary.insert(bench.account, new, "key")
        assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "timeout")
        await bench.meet(faults.BAD_REQUEST, faults.BAD_REQUEST)
        result = await bench.primary.insert(bench.account, new, "another key")
        assert (result.outcome, result.reason) == (Outcome.REJECTED, "http_400")
        assert await texts(bench) == ["no"]

    async def test_what_is_left_of_a_limit_is_told(self, bench: StatusBench) -> None:
        if not any(limit.reset for limit in bench.world.limits):
            _, made = await insert(bench, "one")
            assert made.left is None
            return
        [most] = {limit.most for limit in bench.world.limits}
        for left in (most - 1, most - 2):
            _, made = await insert(bench, "one more")
            assert made.left == left
            assert made.left_for_s
            assert made.left_for_s <= max(limit.period_s for limit in bench.world.limits)

    async def test_above_its_limit_it_is_left_alone_until_it_says(self, bench: StatusBench) -> None:
        bench.world.limits = tuple(replace(each, most=2) for each in bench.world.limits)
        results = [
            await bench.primary.insert(bench.account, status(bench, f"{n}"), f"{n}")
            for n in range(3)
        ]
        limited = bool(bench.world.limits)
        assert [each.outcome for each in results[:2]] == [Outcome.INSERTED] * 2
        assert results[2].outcome is (Outcome.RETRY if limited else Outcome.INSERTED)
        if limited:
            wait_s = results[2].retry_after_s
            told = any(each.reset for each in bench.world.limits)
            assert (wait_s is not None) == told
            await bench.clock.sleep(wait_s or 10.0)
            await insert(bench, "after that")

    # --- What a look finds -----------------------------------------------------------------------

    async def test_equal_texts_are_counted_oldest_first(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        _, first = await insert(bench, "ok")
        asked = attempt(bench, status(bench, "ok"), first.remote_id)
        _, second = await insert(bench, "ok")
        _, third = await insert(bench, "ok")
        assert ids(await bench.primary.reconcile(bench.account, asked)) == [
            second.remote_id,
            third.remote_id,
        ]
        everything = replace(asked, high_water=None)
        assert ids(await bench.primary.reconcile(bench.account, everything)) == [
            each.remote_id for each in (first, second, third)
        ]

    async def test_it_looks_on_to_the_last_page(self, bench: StatusBench) -> None:
        bench.world.limits = ()
        await bench.primary.probe()
        _, before = await insert(bench, "before")
        sent = status(bench, "the last")
        asked = attempt(bench, sent, before.remote_id)
        for n in range(85):
            await insert(bench, f"{n}")
        made = await bench.primary.insert(bench.account, sent, "key")
        assert ids(await bench.primary.reconcile(bench.account, asked)) == [made.remote_id]
        await bench.meet(faults.FINE, faults.ERROR_502, op=Op.LIST)
        look = await bench.primary.reconcile(bench.account, asked)
        assert isinstance(look, LookFailed)
        assert look.result.reason == "http_502"

    async def test_what_the_service_makes_of_a_text_is_known_again(
        self, bench: StatusBench
    ) -> None:
        await bench.primary.probe()
        bench.world.mangle = mangled
        for text in MANGLED:
            sent = status(bench, text)
            made = await bench.primary.insert(bench.account, sent, f"key of {sent.id}")
            await insert(bench, f"{text}.")
            look = await bench.primary.reconcile(bench.account, attempt(bench, sent))
            assert ids(look) == [made.remote_id], text
            await bench.clock.sleep(SETTLE_S)

    async def test_it_finds_only_what_is_like_it(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        await insert(bench, "tea", visibility=Visibility.PUBLIC)
        _, parent = await insert(bench, "long ago")
        await insert(bench, "tea", visibility=Visibility.UNLISTED, in_reply_to=parent.remote_id)
        sent = status(bench, "tea", visibility=Visibility.UNLISTED)
        alone = bench.world.profile.no_parent != 0
        look = await bench.primary.reconcile(bench.account, attempt(bench, sent))
        assert look == Absent()
        reply = replace(sent, visibility=Visibility.PUBLIC, in_reply_to=parent.remote_id)
        look = await bench.primary.reconcile(bench.account, attempt(bench, reply))
        assert look == Absent() if alone else len(ids(look)) == 1  # it may have lost its parent
        await bench.clock.sleep(60.0)
        later = status(bench, "tea")
        look = await bench.primary.reconcile(bench.account, attempt(bench, later))
        assert look == Absent()

    async def test_what_was_deleted_or_is_of_others_is_not_found(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        asked = attempt(bench, status(bench, "tea"))
        _, made = await insert(bench, "tea")
        assert made.remote_id
        await bench.primary.delete(bench.account, made.remote_id)
        bob = bench.world.join("bob", 2)
        await bench.primary.insert(bob, status(bench, "tea"), "bob's")
        assert await bench.primary.reconcile(bench.account, asked) == Absent()
        assert len(ids(await bench.primary.reconcile(bob, asked))) == 1

    @pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
    async def test_a_service_whose_clock_is_wrong_is_understood(
        self, bench: StatusBench, skew_s: float
    ) -> None:
        bench.world.skew_s = skew_s
        await bench.primary.probe()
        await insert(bench, "tea")
        await bench.clock.sleep(60.0)
        sent = status(bench, "tea")
        asked = attempt(bench, sent)
        made = await bench.primary.insert(bench.account, sent, "key")
        assert ids(await bench.primary.reconcile(bench.account, asked)) == [made.remote_id]
        await bench.meet(faults.LIMITED_ISO)
        result = await bench.primary.insert(bench.account, status(bench, "more"), "more")
        assert result.retry_after_s == pytest.approx(faults.LIMITED_ISO.wait_s, abs=1.1)

    async def test_what_the_service_hides_cannot_be_told(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        for visibility in Visibility:
            sent = status(bench, "who sees it?", visibility=visibility)
            made = await bench.primary.insert(bench.account, sent, f"key of {sent.id}")
            look = await bench.primary.reconcile(bench.account, attempt(bench, sent))
            if visibility in bench.world.profile.lists:
                assert ids(look) == [made.remote_id]
            else:
                assert isinstance(look, CannotTell)
                assert look.detail

    async def test_what_appears_at_its_original_time_is_found(self, bench: StatusBench) -> None:
        """Its id is of that time as well, below the high-water mark."""
        await bench.primary.probe()
        sent = status(bench, "written long ago", backdate=True)
        await bench.clock.sleep(7200.0)
        _, before = await insert(bench, "before")
        asked = attempt(bench, sent, before.remote_id)
        made = await bench.primary.insert(bench.account, sent, "key")
        if bench.caps.backdate:
            assert made.remote_time == sent.published
            look = await bench.primary.reconcile(bench.account, asked)
            assert ids(look) == [made.remote_id]
        else:
            assert made.remote_time == bench.utc()

    async def test_a_look_that_failed_is_never_absent(self, bench: StatusBench) -> None:
        await bench.primary.probe()
        unseen = attempt(bench, status(bench, "unseen"))
        for fault, outcome in (
            *MEANINGS, (faults.PAGE, Outcome.UNKNOWN), (faults.NO_ID, Outcome.UNKNOWN),
        ):  # fmt: skip
            await bench.meet(fault, op=Op.LIST)
            look = await bench.primary.reconcile(bench.account, unseen)
            assert isinstance(look, LookFailed), fault
            assert look.result.outcome is outcome, fault
            assert (look.result.retry_after_s is not None) == (outcome is Outcome.RETRY), fault
            shows_nothing(bench, look.result)

    # --- Keys ------------------------------------------------------------------------------------

    async def test_a_key_holds_as_long_as_the_service_says(self, bench: StatusBench) -> None:
        if not bench.caps.window_s:
            return
        new = status(bench, "once")
        first = await bench.primary.insert(bench.account, new, "key")
        await bench.clock.sleep(bench.caps.window_s - 1.0)
        second = await bench.primary.insert(bench.account, new, "key")
        assert first.remote_id == second.remote_id
        await bench.clock.sleep(2.0)
        third = await bench.primary.insert(bench.account, new, "key")
        assert third.remote_id != first.remote_id
        assert await texts(bench) == ["once", "once"]

    async def test_a_new_key_gets_past_an_error_that_is_kept(self, bench: StatusBench) -> None:
        new = status(bench, "once")
        await bench.meet(faults.ERROR_500)
        results = [
            await bench.primary.insert(bench.account, new, key)
            for key in ("key", "key", "another key")
        ]
        kept = bench.world.profile.replays_errors
        assert [each.outcome for each in results[:2]] == [
            Outcome.UNKNOWN, Outcome.UNKNOWN if kept else Outcome.INSERTED,
        ]  # fmt: skip
        assert results[2].outcome is Outcome.INSERTED
        assert len(await bench.stored()) == (1 if kept else 2)
