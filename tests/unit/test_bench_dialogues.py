"""What a light client of the benchmark says, and what it makes of what comes."""

import base64

import pytest

from xmpprelay.bench.advice import EJABBERD, PROSODY, sentence
from xmpprelay.bench.dialogues import (
    REMOVE,
    Failed,
    Login,
    Step,
    Then,
    Tls,
    Trouble,
    answers,
    condition,
    heard,
    leaves_roster,
    login,
    said,
)

BOB = Login("bob@example.org", "<'{}&\">")
DENIED = (
    "<iq id='bind' type='error'><bind/><error type='cancel'><not-allowed xmlns='…'/>"
    "<text xml:lang='en'>Access isn&apos;t allowed.</text></error></iq>"
)


def test_what_is_said_has_the_account_in_it_escaped() -> None:
    told = said("<a b='{jid}' c='{domain}'>{name} {password}</a>", BOB)
    assert told == ("<a b='bob@example.org' c='example.org'>bob &lt;&apos;{}&amp;&quot;&gt;</a>")
    assert base64.b64decode(said("{login}", BOB)) == b"\0bob\0<'{}&\">"


def test_only_an_encrypted_client_says_its_password() -> None:
    for tls in (Tls.CHECKED, Tls.UNCHECKED):
        steps = login(tls, makes=True)
        encrypted = next(at for at, step in enumerate(steps) if step.then is Then.ENCRYPT)
        spoken = [at for at, step in enumerate(steps) if "{login}" in step.says or step.makes]
        assert len(spoken) == 2
        assert min(spoken) > encrypted
    assert all(step.then is not Then.ENCRYPT for step in login(Tls.NONE))
    assert not any(step.makes for step in login(Tls.CHECKED))


def test_a_step_goes_on_when_that_has_come_which_it_waits_for() -> None:
    step = Step("", until=rb"<b/>", trouble=Trouble.PASSWORD)
    assert heard(step, b"<a/><b") is None
    assert heard(step, b"<a/>\n<b/>") == b"<b/>"
    refused = b"<failure xmlns='x'><not-authorized/></failure>"
    assert heard(step, refused) == Failed(Trouble.PASSWORD, refused.decode())


def test_what_a_server_does_not_offer_is_known_by_the_end_of_its_features() -> None:
    starts = login(Tls.CHECKED)[0]
    without = b"<stream:features><mechanisms><mechanism>PLAIN</mechanism></mechanisms>"
    assert heard(starts, without) is None
    found = heard(starts, without + b"</stream:features>")
    assert isinstance(found, Failed)
    assert found.trouble is Trouble.NO_TLS
    in_the_clear = login(Tls.NONE)[0]
    assert heard(in_the_clear, without + b"</stream:features>")
    found = heard(in_the_clear, b"<stream:features><starttls/></stream:features>")
    assert isinstance(found, Failed)
    assert found.trouble is Trouble.NO_PLAIN_IN_THE_CLEAR


@pytest.mark.parametrize(
    "answer", ["<iq id='remove' type='result'/>", "<iq type='result' from='x' id=\"remove\"/>"]
)
def test_an_answer_is_known_in_whatever_order_its_attributes_are(answer: str) -> None:
    assert heard(REMOVE, answer.encode()) == answer.encode()
    assert heard(REMOVE, b"<iq id='removed' type='set'/>") is None


def test_a_contact_that_is_not_there_is_well_forgotten() -> None:
    step = leaves_roster("home@relay.example.org")
    assert heard(step, b"<iq type='error' id='forget'><error><item-not-found/></error></iq>")


def test_questions_are_answered_with_an_error_and_answers_are_not() -> None:
    (answer,) = answers(b"<iq from='a@b/c' id='7' type='get'><ping/></iq><iq id='8' type='error'>")
    assert answer.startswith("<iq type='error' id='7' to='a@b/c'>")
    assert not list(answers(b"<iq id='9' type='result'/><message/>"))


def test_the_condition_of_an_error_is_told_with_its_words() -> None:
    assert condition(DENIED.partition("<bind/>")[2]) == "not-allowed: Access isn't allowed"
    assert condition("<failure xmlns='x'><not-authorized/></failure>") == "not-authorized"
    assert condition("the connection was closed") == "the connection was closed"


@pytest.mark.parametrize("server", [None, PROSODY, EJABBERD])
@pytest.mark.parametrize("trouble", Trouble)
def test_each_trouble_is_one_sentence_for_people(server: str | None, trouble: Trouble) -> None:
    told = sentence(server, BOB.jid, trouble, "<failure><not-authorized/></failure>")
    assert told.endswith(".")
    assert "\n" not in told
    assert "  " not in told
    assert "<" not in told or trouble in (Trouble.CERTIFICATE, Trouble.UNREACHABLE)


def test_where_the_kind_of_server_is_known_only_its_settings_are_named() -> None:
    both = sentence(None, BOB.jid, Trouble.NO_REGISTRATION, "it does not offer that")
    assert "Prosody: set `allow_registration" in both
    assert "ejabberd: load `mod_register`" in both
    one = sentence(EJABBERD, BOB.jid, Trouble.NO_SESSION, DENIED)
    assert one.startswith("ejabberd does not let bob@example.org log in (")
    assert "`access_rules`" in one
    assert "Prosody" not in one
