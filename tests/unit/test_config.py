"""The configuration: every kind of mistake, all at once, and no secret in any of them."""

import copy
import dataclasses
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
import slixmpp
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from xmpprelay.config import (
    Config,
    Feeds,
    Primary,
    Retention,
    Secret,
    Store,
    Web,
    Xmpp,
    load,
    markdown,
    sample,
    warnings,
)
from xmpprelay.config.addresses import bare_jid
from xmpprelay.config.options import OPTIONS, TABLES
from xmpprelay.errors import ConfigError

HERE = Path(__file__).resolve().parents[2]
PAGES = '[web]\nbase_url = "https://relay.example.org"\n'
LEAST = '[xmpp]\ndomain = "relay.example.org"\nsecret = "hunter2"\n'
SECRET_VARIABLE = "XMPPRELAY_SECRET"


class Folder:
    """A folder with a configuration in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "xmpprelay.toml"

    def load(self, text: str, **environ: str) -> Config:
        self.file.write_text(text, encoding="utf-8")
        return load(self.file, environ)

    def problems(self, text: str, **environ: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            self.load(text, **environ)
        assert all(problem.isprintable() for problem in caught.value.problems)
        assert caught.value.sentence.isprintable()
        return caught.value.problems

    def problem(self, text: str, **environ: str) -> str:
        (problem,) = self.problems(text, **environ)
        return problem


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# ---- what is right ----


def test_the_least_that_is_needed_gives_everything(folder: Folder) -> None:
    config = folder.load(LEAST)
    assert config.xmpp.domain == "relay.example.org"
    assert config.xmpp.secret.reveal() == "hunter2"
    assert config.xmpp.local_domains == ("example.org",)
    assert (config.xmpp.home, config.xmpp.host, config.xmpp.port) == ("home", "127.0.0.1", 5347)
    assert config.store.path == Path("/var/lib/xmpprelay/relay.db")
    assert config.store.socket == Path("/var/lib/xmpprelay/relay.db.sock")
    assert config.store.key_path == Path("/var/lib/xmpprelay/key")
    assert (config.primary.driver, config.primary.settle_s) == ("none", 60.0)
    assert config.primary.max_age == timedelta(days=7)
    assert config.primary.reply_wait == timedelta(hours=1)
    assert config.registration.policy == "register"
    limits = config.limits
    assert (limits.posts_per_second, limits.burst, limits.posts_per_hour) == (1.0, 5, 300)
    assert (limits.max_chars, limits.follows) == (2000, 2000)
    assert (config.log.level, config.log.format) == ("info", "auto")
    assert config.retention == Retention(posts=timedelta(days=400), waiting=None)
    assert config.contact.abuse == ()
    assert config.source == folder.file


def test_everything_may_be_given(folder: Folder) -> None:
    config = folder.load(
        """
        [xmpp]
        domain = "Relay.Example.ORG."
        secret = "hunter2"
        home = "news"
        admins = ["Alice@Example.net"]
        local_domains = ["example.net", "bücher.example"]
        host = "::1"
        port = 5348
        [store]
        url = "sqlite:////srv/relay.db"
        key_file = "keys/relay"
        [primary]
        driver = "mastodon"
        instances = ["https://Social.example/", "http://[::1]:8080"]
        settle_s = 5
        max_age = "36h"
        reply_wait = "30m"
        visibility = "unlisted"
        long = "split"
        unsure = "resend"
        refused_parent = "hold"
        time = "backdate"
        read_back = true
        per_second = 2.5
        [contact]
        abuse = ["mailto:abuse@example.org", "xmpp:abuse@example.org", "https://example.org/a"]
        [registration]
        policy = "closed"
        reserved = ["News*", "mayor"]
        [limits]
        posts_per_second = 2
        burst = 7
        posts_per_hour = 400
        deliveries_per_minute = 5000
        max_chars = 500
        follows = 10
        domain_joins_per_hour = 11
        domain_follows_per_minute = 12
        domain_people = 13
        load_busy_s = 20
        load_peak_s = 60
        [web]
        listen = "[::1]:8080"
        base_url = "https://example.org/relay/"
        [feeds]
        directory = "feeds"
        hub = "https://hub.example/"
        [retention]
        posts = "forever"
        waiting = "90d"
        [log]
        level = "debug"
        format = "json"
        """
    )
    assert config.xmpp == Xmpp(
        domain="relay.example.org",
        secret=Secret("hunter2"),
        home="news",
        admins=("alice@example.net",),
        local_domains=("example.net", "bücher.example"),
        host="::1",
        port=5348,
    )
    assert config.store.path == Path("/srv/relay.db")
    assert config.store.key_path == folder.path / "keys/relay"
    assert config.primary == Primary(
        driver="mastodon",
        instances=("https://social.example", "http://[::1]:8080"),
        settle_s=5.0,
        max_age=timedelta(hours=36),
        reply_wait=timedelta(minutes=30),
        visibility="unlisted",
        long="split",
        unsure="resend",
        refused_parent="hold",
        time="backdate",
        read_back=True,
        per_second=2.5,
    )
    assert config.web == Web(listen="[::1]:8080", base_url="https://example.org/relay")
    assert config.retention == Retention(posts=None, waiting=timedelta(days=90))
    assert config.feeds == Feeds(str(folder.path / "feeds"), hub="https://hub.example/")
    assert len(config.contact.abuse) == 3
    assert (config.registration.policy, config.registration.reserved) == (
        "closed",
        ("news*", "mayor"),
    )
    limits = dataclasses.astuple(config.limits)
    assert limits == (2.0, 7, 400, 5000, 500, 10, 11, 12, 13, 20.0, 60.0)
    assert dataclasses.astuple(config.log) == ("debug", "json")


def test_the_result_is_plain_and_frozen(folder: Folder) -> None:
    config = folder.load(LEAST)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.xmpp.port = 1  # type: ignore[misc]
    assert not hasattr(config, "model_dump")
    assert dataclasses.replace(config.xmpp, port=1).port == 1


def test_made_in_code_the_server_is_known_as_well() -> None:
    assert Xmpp(domain="relay.localhost").local_domains == ("localhost",)
    assert Xmpp(domain="relay", local_domains=("a.org",)).local_domains == ("a.org",)


def test_a_byte_order_mark_and_crlf_do_no_harm(folder: Folder) -> None:
    assert folder.load("\ufeff" + LEAST.replace("\n", "\r\n")).xmpp.port == 5347


# ---- domains and JIDs ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Alice@Example.ORG.", "alice@example.org"),
        ("Straße@bücher.example", "strasse@bücher.example"),
        ("a\u00adb@example.org", "ab@example.org"),
        ("\u212bngström@example.org", "ångström@example.org"),
    ],
)
def test_a_jid_is_prepared_as_xmpp_prepares_it(text: str, expected: str) -> None:
    assert bare_jid(text) == expected == slixmpp.JID(text).bare


def test_a_domain_in_ascii_form_is_written_out() -> None:
    assert bare_jid("alice@xn--bcher-kva.example") == "alice@bücher.example"


chars = st.sampled_from("aZ0-._@ßİſ\u00ad\u212b\u0131\u05d0\u0627\u1e9e\u3002\uff21\uff0e😀/ ")
parts = st.text(st.characters() | chars, min_size=1, max_size=4)


@settings(max_examples=300)
@given(st.builds("{}@{}.org".format, parts, parts))
def test_what_passes_is_the_jid_of_its_stanzas(text: str) -> None:
    try:
        prepared = bare_jid(text)
        of_stanza = slixmpp.JID(text).bare
    except ValueError:
        return  # an address that one of them does not know: no stanza comes from it
    assert of_stanza == prepared == bare_jid(prepared)


# ---- single values ----


@pytest.mark.parametrize(
    ("table", "line", "reason"),
    [
        ("xmpp", "home = 5", "5 is not allowed"),
        ("xmpp", 'home = "a b"', '"a b" cannot be the part before the @'),
        ("xmpp", 'home = ""', "empty"),
        ("xmpp", "admins = 'alice@example.org'", '"alice@example.org" is not allowed'),
        ("xmpp", "admins = ['alice@example.org', 'bob']", 'item 2: "bob" is not a bare JID'),
        ("xmpp", "admins = ['alice@example.org/phone']", "has a resource"),
        ("xmpp", "admins = ['@example.org']", "is not a bare JID"),
        ("xmpp", "admins = ['a b@example.org']", "is not a bare JID"),
        ("xmpp", "admins = ['alice@exa mple.org']", "is not a bare JID"),
        ("xmpp", "admins = [3]", "item 1: 3 is not allowed"),
        (
            "xmpp",
            "admins = ['carol@other.org']",
            "is of another server; give people of example.org",
        ),
        ("xmpp", "local_domains = ['relay.example.org']", "is the component's own domain"),
        ("xmpp", "local_domains = ['a.org', '-']", 'item 2: "-" is not a domain name'),
        ("xmpp", "host = 'a host'", "is neither a host name nor an IP address"),
        ("xmpp", "port = 0", "0 is not allowed; give a whole number from 1 to 65535"),
        ("xmpp", "port = 65536", "65536 is not allowed"),
        ("xmpp", 'port = "5347"', '"5347" is not allowed'),
        ("xmpp", "port = true", "true is not allowed"),
        ("xmpp", "port = 5347.0", "5347.0 is not allowed"),
        ("store", 'url = "sqlite:///relay.db"', "is not the URL of an SQLite file"),
        ("store", 'url = "sqlite:////"', "is not the URL of an SQLite file"),
        ("store", 'url = "sqlite:////relay/"', "is not the URL of an SQLite file"),
        ("store", 'url = "sqlite:////a?mode=ro"', "is not the URL of an SQLite file"),
        ("store", 'url = "sqlite://"', "is not the URL of an SQLite file"),
        ("store", 'url = "/var/lib/relay.db"', "is not the URL of an SQLite file"),
        ("store", 'url = "postgresql://u:hunter2@db/relay"', "PostgreSQL, which a later version"),
        ("store", 'url = "postgres://db/relay"', "PostgreSQL, which a later version"),
        ("store", "key_file = 3", "3 is not allowed; give the path of a file"),
        ("primary", 'driver = "twitter"', "give none, sql, pubsub, mastodon or webhook"),
        ("primary", 'url = "https://a b"', "primary.driver"),
        ("primary", 'table = "post; drop"', "is no plain name of an SQL table"),
        ("primary", 'table = "1st"', "is no plain name of an SQL table"),
        ("primary", 'instances = ["social.example"]', "does not begin with https://"),
        ("primary", 'instances = ["http://social.example"]', "does not begin with https://"),
        ("primary", 'instances = ["https://a@social.example"]', "has a user name in it"),
        ("primary", 'instances = ["https://social.example/@a"]', "has more than the address"),
        ("primary", 'instances = ["https://social.example?a"]', "has more than the address"),
        ("primary", 'instances = ["https://social.example#a"]', "has a # in it"),
        ("primary", 'instances = ["https://"]', "is not an address on the web"),
        ("primary", 'instances = ["https://[::1"]', "is not an address on the web"),
        ("primary", 'instances = ["https://a.org:99999"]', "is not an address on the web"),
        ("primary", 'instances = ["https://a.org", "https://b c.org"]', "item 2: "),
        ("primary", 'service = ""', "empty; give a domain name"),
        ("primary", 'node = ""', "empty"),
        ("primary", 'node = "a\\nb"', "cannot be the name of a node"),
        ("primary", 'secret = "hunter2"', "what is given is not whsec_ and 24 to 64 bytes"),
        ("primary", 'secret = "whsec_hunter2"', "what is given is not whsec_ and 24 to 64 bytes"),
        ("primary", 'token = "hunter2\\nx"', "what is given has a line break"),
        ("primary", "settle_s = 0", "0 is not allowed; give a number above 0"),
        ("primary", 'max_age = "0d"', '"0d" is no span of time from 1m to 366d'),
        ("primary", 'max_age = "367d"', '"367d" is no span of time from 1m to 366d'),
        ("primary", 'max_age = "7"', '"7" is no span of time'),
        ("primary", "reply_wait = 7", "7 is no span of time"),
        ("primary", 'visibility = "private"', "give public or unlisted"),
        ("primary", 'long = "cut"', "give link, refuse or split"),
        ("primary", 'unsure = "drop"', "give hold or resend"),
        ("primary", 'refused_parent = "drop"', "give detach or hold"),
        ("primary", 'time = "now"', "give none, suffix or backdate"),
        ("primary", 'read_back = "yes"', '"yes" is not allowed; give true or false'),
        ("primary", "read_back = 1", "1 is not allowed; give true or false"),
        ("primary", "per_second = -1", "-1 is not allowed"),
        ("contact", 'abuse = ["abuse@example.org"]', "is not an address of the form mailto:"),
        ("contact", 'admin = ["http://example.org"]', "is not an address of the form"),
        ("contact", 'sales = ["mailto:"]', "is not an address of the form"),
        ("contact", 'support = "mailto:a@b"', '"mailto:a@b" is not allowed; give a list'),
        ("registration", 'policy = "shut"', '"shut" is not allowed; give register, open or closed'),
        ("registration", "policy = ['closed']", "a list is not allowed"),
        ("registration", 'reserved = ["a b"]', "can match no handle"),
        ("registration", 'reserved = [""]', "item 1: empty"),
        ("limits", "posts_per_second = 0", "0 is not allowed; give a number above 0"),
        ("limits", "posts_per_second = -1.5", "-1.5 is not allowed"),
        ("limits", "posts_per_second = nan", "nan is not allowed"),
        ("limits", "posts_per_second = inf", "inf is not allowed"),
        ("limits", "burst = 0", "0 is not allowed"),
        ("limits", "burst = 1.5", "1.5 is not allowed"),
        ("limits", "posts_per_hour = 0", "0 is not allowed"),
        ("limits", "deliveries_per_minute = 0", "0 is not allowed"),
        ("limits", "max_chars = 8001", "8001 is not allowed"),
        ("limits", f"max_chars = {10**40}", "so large a number is not allowed"),
        ("limits", "follows = 1979-05-27", "a date or time is not allowed"),
        ("limits", "follows = {}", "a table is not allowed"),
        ("log", 'level = "loud"', '"loud" is not allowed; give debug, info, warning or error'),
        ("log", 'format = "xml"', "give auto, json or console"),
        ("log", 'format = "a\\u001b[31m\\nb"', '"a\\x1b[31m\\nb" is not allowed'),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_is_allowed(
    folder: Folder, table: str, line: str, reason: str
) -> None:
    text = LEAST + line if table == "xmpp" else f"{LEAST}[{table}]\n{line}"
    problem = folder.problem(text + "\n")
    assert problem.startswith(f"{table}.{line.split()[0]}")
    assert reason in problem
    assert "hunter2" not in problem


NO_DOMAINS = """
    http://a.org  a..org  .org  a_b.org  -a.org  192.0.2.1  a.org/x  a.org:5347  alice@example.org
""".split()  # noqa: SIM905 - easier to read


@pytest.mark.parametrize("domain", ["", " ", "a b", "a" * 64 + ".org", "abc." * 64, *NO_DOMAINS])
def test_what_is_no_domain_is_told(folder: Folder, domain: str) -> None:
    problem = folder.problem(LEAST.replace("relay.example.org", domain))
    assert problem.startswith("xmpp.domain: ")
    assert problem.endswith("; give a domain name such as relay.example.org")


def test_a_long_wrong_value_is_cut(folder: Folder) -> None:
    assert len(folder.problem(LEAST + f'[log]\nlevel = "{"x" * 5000}"')) < 200


def test_a_domain_without_one_above_it_needs_the_servers(folder: Folder) -> None:
    text = LEAST.replace("relay.example.org", "relay")
    assert folder.problem(text).startswith("xmpp.local_domains: missing; relay has no domain above")
    assert folder.load(text + 'local_domains = ["example.org"]').xmpp.domain == "relay"


# ---- names ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[limits]\nbrust = 3", "limits.brust: there is no such option; the nearest is burst"),
        ("[limts]\nburst = 3", "limts: there is no such table; the nearest is limits"),
        ("[Limits]\nburst = 3", "Limits: there is no such table; the nearest is limits"),
        ("[zzz]", "zzz: there is no such table; there are xmpp, store, primary"),
        ("[log]\nzzz = 1", "log.zzz: there is no such option; there are level, format"),
        ("[log]\nburst = 1", "log.burst: this option belongs into the table [limits]"),
        ("[[log]]\nlevel = 'info'", "log: a list is given, but this is a table: [log]"),
        ("[web]\nlisten = 'a:80'", "web.base_url: missing; give the address at which people"),
        ("[feeds]\ndirectory = 'x'", "web.base_url: missing; feeds have to name the address"),
        ("[feeds]\nhub = 'http://hub.test/'", 'feeds.hub: "http://hub.test/" does not begin with'),
        (f"{PAGES}listen = 'x'", 'web.listen: "x" is not a host and a port'),
        (f"{PAGES}listen = '[::1]:0'", 'web.listen: "[::1]:0" has no port from 1 to 65535'),
        ("[web]\nbase_url = 'relay.test'", 'web.base_url: "relay.test" does not begin with https'),
        ("[web]\nbase_url = 'https://a.test/?x'", 'web.base_url: "https://a.test/?x" has a ?'),
        ("[web]\nbase_url = 'https://a.test/ '", 'web.base_url: "https://a.test/ " has a space'),
        ("[web]\nbase_url = 'https://a/%2'", 'web.base_url: "https://a/%2" has more in its path'),
        ("[retention]\nposts = '29d'", 'retention.posts: "29d" is neither "forever" nor a number'),
        ("[retention]\nposts = '3661d'", 'retention.posts: "3661d" is neither "forever" nor a'),
        ("[retention]\nposts = 400", "retention.posts: 400 is neither "),
        ("[retention]\nwaiting = 'ever'", 'retention.waiting: "ever" is neither "forever" nor'),
        ("[retention]\nlikes = '400d'", "retention.likes: there is no such option"),
        ('[store]\n"a\\nb" = 1', "store.a\\nb: there is no such option"),
    ],
)
def test_what_nobody_knows_is_told_with_what_is_known(
    folder: Folder, text: str, expected: str
) -> None:
    assert folder.problem(LEAST + text).startswith(expected)


def test_an_option_outside_of_any_table_is_sent_home(folder: Folder) -> None:
    problems = folder.problems("burst = 3\nlog = 1\n" + LEAST)
    assert problems == (
        "burst: this option belongs into the table [limits]; move it there",
        "log: 1 is given, but this is a table: [log]",
    )


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(folder: Folder) -> None:
    problems = folder.problems(
        """
        [limits]
        burst = 0
        brust = 3
        [xmpp]
        port = 0
        admins = ["bob", 3]
        [retention]
        posts = "1y"
        [log]
        level = "loud"
        """
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        "limits.burst",
        "limits.brust",
        "xmpp.port",
        "xmpp.admins, item 1",
        "xmpp.admins, item 2",
        "xmpp.domain",
        "xmpp.secret_file",
        "retention.posts",
        "log.level",
    ]


def test_the_headline_counts(folder: Folder) -> None:
    with pytest.raises(ConfigError, match=r"xmpprelay\.toml has a mistake"):
        folder.load(LEAST + "port = 0")
    with pytest.raises(ConfigError, match=r"xmpprelay\.toml has 2 mistakes"):
        folder.load(LEAST + "port = 0\nhome = 1")


def test_an_empty_file_misses_two_things(folder: Folder) -> None:
    domain, secret = folder.problems("")
    assert domain == "xmpp.domain: missing; give a domain name such as relay.example.org"
    assert secret.startswith("xmpp.secret_file: there is no secret; name its file here")


# ---- the file ----


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no file .*`xmpprelay config sample`"):
        load(tmp_path / "nothing.toml", {})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path, {})


def test_what_is_no_toml_is_told_with_its_line(folder: Folder) -> None:
    problem = folder.problem(LEAST + "port 5347\n")
    assert problem.startswith("file: ")
    assert "line 4" in problem


def test_what_is_no_text_is_told_with_its_line(folder: Folder) -> None:
    folder.file.write_bytes(LEAST.encode() + b'home = "\xff"\n')
    with pytest.raises(ConfigError) as caught:
        load(folder.file, {})
    assert caught.value.problems == ("file: there is something that is no UTF-8 text in line 4",)


@pytest.mark.parametrize("text", [f"a = {'9' * 5000}", f"a = {'[' * 5000}"])
def test_values_too_large_to_be_read_are_told(folder: Folder, text: str) -> None:
    assert folder.problem(text).startswith("file: ")


def test_a_file_that_is_far_too_large_is_not_read(folder: Folder) -> None:
    with pytest.raises(ConfigError, match="far too large"):
        folder.load("#" * 2_000_000)


lines = st.sampled_from(
    [*[f"[{name}]" for name in [*TABLES, "web", "zz"]], "[[log]]"]
    + [f"{key} = {value}" for table in OPTIONS.values() for key in table for value in ("1", '"a"')]
    + ["a.b = 1", "x", "= 3", '"" = 1', "port = [1, [2]]", "burst = {a = 1}", "# comment"]
)


@given(st.lists(lines).map("\n".join) | st.text(max_size=50))
def test_whatever_the_file_is_one_gets_a_configuration_or_its_mistakes(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    problems: tuple[str, ...] = ("none",)
    try:
        load(file, {})
    except ConfigError as error:
        problems = error.problems
    assert problems
    assert all(problem.isprintable() for problem in problems)


# ---- the secret ----

NO_SECRET = '[xmpp]\ndomain = "relay.example.org"\n'
WITH_FILE = NO_SECRET + 'secret_file = "secret"\n'


def test_the_secret_may_come_from_a_file_beside_the_configuration(folder: Folder) -> None:
    (folder.path / "secret").write_text("hunter2\n")
    config = folder.load(WITH_FILE)
    assert config.xmpp.secret.reveal() == "hunter2"
    assert config.xmpp.secret_file == str(folder.path / "secret")


def test_the_secret_may_come_from_a_file_elsewhere(folder: Folder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else"
    elsewhere.write_text("hunter2")
    config = folder.load(NO_SECRET + f'secret_file = "{elsewhere}"')
    assert config.xmpp.secret.reveal() == "hunter2"


def test_the_secret_may_come_from_the_environment(folder: Folder) -> None:
    config = folder.load(NO_SECRET, XMPPRELAY_SECRET=" hunter2\n")
    assert config.xmpp.secret.reveal() == "hunter2"
    assert folder.load(NO_SECRET + "secret_file = ''", XMPPRELAY_SECRET="x").xmpp.secret


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        (NO_SECRET, "", "xmpp.secret_file: there is no secret ($XMPPRELAY_SECRET is empty)"),
        (NO_SECRET, " \n", "xmpp.secret_file: there is no secret ($XMPPRELAY_SECRET is empty)"),
        (NO_SECRET, None, "xmpp.secret_file: there is no secret; name its file here"),
        (NO_SECRET + 'secret_file = ""', None, "xmpp.secret_file: there is no secret"),
        (NO_SECRET + 'secret = ""', None, "xmpp.secret: empty"),
        (NO_SECRET + 'secret = "  "', None, "xmpp.secret: empty"),
        (NO_SECRET + "secret = 1234567", None, "xmpp.secret: a number is not allowed"),
        (NO_SECRET + 'secret = "hunter2\\nx"', None, "xmpp.secret: what is given has a line"),
        (LEAST, "x", "xmpp.secret: secret and $XMPPRELAY_SECRET are given; leave all of them out"),
        (WITH_FILE, "x", "xmpp.secret_file: secret_file and $XMPPRELAY_SECRET are given"),
        (WITH_FILE + 'secret = "hunter2"', "x", "xmpp.secret: secret and secret_file and $XMPP"),
        (WITH_FILE + 'secret = "hunter2"', None, "xmpp.secret: secret and secret_file are given"),
        (NO_SECRET, "hunter2\x1b[0m", "xmpp.secret: $XMPPRELAY_SECRET has a line break or another"),
        (NO_SECRET + "secret_file = 3", None, "xmpp.secret_file: 3 is not allowed"),
        (NO_SECRET + 'secret_file = "a\\u0000b"', None, "xmpp.secret_file: "),
    ],
)
def test_a_missing_empty_or_doubtful_secret_is_told(
    folder: Folder, text: str, environ: str | None, expected: str
) -> None:
    problem = folder.problem(text, **({} if environ is None else {SECRET_VARIABLE: environ}))
    assert problem.startswith(expected)
    assert "hunter2" not in problem
    assert "1234567" not in problem


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "secret cannot be read (No such file or directory); it must hold the secret"),
        (b"", "secret is empty; it must hold the secret"),
        (b" \n\n", "secret is empty"),
        (b"hunter2\nhunter3\n", "has a line break or another control character"),
        (b"\xff\xfe", "is no UTF-8 text"),
        (b"x" * 5000, "cannot be a secret's file"),
    ],
)
def test_a_secret_file_that_holds_no_secret_is_told(
    folder: Folder, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (folder.path / "secret").write_bytes(content)
    problem = folder.problem(WITH_FILE)
    assert problem.startswith("xmpp.secret_file: ")
    assert expected in problem
    assert "hunter" not in problem


def test_a_secret_under_a_misspelt_name_is_not_shown(folder: Folder) -> None:
    first, second = folder.problems(NO_SECRET + 'secert = "hunter2"')
    assert first == "xmpp.secert: there is no such option; the nearest is secret"
    assert "hunter2" not in second


def test_a_secret_is_seen_only_when_revealed(folder: Folder) -> None:
    config = folder.load(LEAST)
    secret = config.xmpp.secret
    shown = [repr(config), str(config), f"{config}", repr(secret), str(secret), f"{secret}"]
    shown += [str(dataclasses.asdict(config)), repr(copy.deepcopy(config)), f"{[secret]}"]
    assert "<secret>" in shown[0]
    assert not any("hunter2" in text for text in shown)


def test_no_exception_carries_the_secret(folder: Folder) -> None:
    with pytest.raises(ConfigError) as caught:
        folder.load(LEAST.replace("hunter2", "hunter2\\n") + "port = 0")
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in repr(error) + str(error)
        error = error.__context__


def test_secrets_are_compared_by_what_they_hold() -> None:
    assert Secret("ä") == Secret("ä")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a")
    assert not Secret("")


# ---- the primary service ----

WEBHOOK_SECRET = "whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjIt"
SQL = 'driver = "sql"\nurl = "sqlite:////srv/posts.db"\n'
PUBSUB = 'driver = "pubsub"\nservice = "pubsub.example.org"\n'
WEBHOOK = f'driver = "webhook"\nurl = "https://example.org/posts"\nsecret = "{WEBHOOK_SECRET}"\n'
ONE_ACCOUNT = 'driver = "mastodon"\nurl = "https://social.example"\ntoken = "hunter2"\n'
LINKED = 'driver = "mastodon"\ninstances = ["https://social.example"]\n'


def primary(lines: str) -> str:
    return f"{LEAST}[primary]\n{lines}"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (SQL, {"url": "sqlite:////srv/posts.db", "table": "post"}),
        (
            SQL.replace("sqlite:////srv/posts.db", "postgresql://relay:pw@db/posts"),
            {"url": "postgresql://relay:pw@db/posts"},
        ),
        (PUBSUB, {"service": "pubsub.example.org", "node": "microblog"}),
        (PUBSUB + 'node = "urn:xmpp:microblog:0"', {"node": "urn:xmpp:microblog:0"}),
        (WEBHOOK, {"url": "https://example.org/posts", "secret": Secret(WEBHOOK_SECRET)}),
        (WEBHOOK.replace("https://example.org", "http://127.0.0.1:8000"), {"table": "post"}),
        (ONE_ACCOUNT, {"url": "https://social.example", "token": Secret("hunter2")}),
        (ONE_ACCOUNT.replace(".example", ".example:443/"), {"url": "https://social.example"}),
        (LINKED, {"instances": ("https://social.example",), "token": Secret("")}),
        (LINKED.replace("https://social.example", "http://localhost:3000"), {"url": ""}),
        (ONE_ACCOUNT + "read_back = true", {"read_back": True}),
        (SQL + "read_back = false", {"read_back": False}),
    ],
)
def test_each_driver_gets_what_it_needs(
    folder: Folder, lines: str, expected: dict[str, object]
) -> None:
    found = folder.load(primary(lines)).primary
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('driver = "sql"', ["url: missing; give sqlite:// and an absolute path, or postgresql://"]),
        ('driver = "pubsub"', ["service: missing; give a domain name such as pubsub.example.org"]),
        (
            'driver = "webhook"',
            ["url: missing; give the address of the receiver", "secret_file: there is no secret"],
        ),
        ('driver = "mastodon"', ["instances: missing; give the instances on which people have"]),
        (
            'driver = "mastodon"\nurl = "https://a.org"',
            ["token_file: there is no token; name its file here, or give primary.token"],
        ),
        (LINKED + 'token = "hunter2"', ["token: is only for one account for all, with url"]),
        (LINKED + 'url = "https://a.org"', ["instances: is given as well as url", "token_file: "]),
        (
            LINKED.replace("]", ', "https://social.example:8443", "https://b.org"]'),
            ["instances, item 2: social.example is given twice; leave out one"],
        ),
        (
            SQL + 'table = "posts"\nca_file = "ca.pem"',
            ["ca_file: is only for mastodon and webhook"],
        ),
        (
            PUBSUB + 'table = "posts"',
            ["table: is only for sql, and the driver is pubsub; leave it"],
        ),
        (WEBHOOK + 'node = "a"', ["node: is only for pubsub, and the driver is webhook; leave"]),
        (
            WEBHOOK + "read_back = true",
            ["read_back: is only for mastodon, and the driver is webhook; leave it out"],
        ),
        (SQL + 'secret_file = "none"', ["secret_file: is only for webhook, and the driver is sql"]),
        (
            'url = "https://a.org"',
            ["url: is only for sql, mastodon and webhook, and there is no driver; give primary.dr"],
        ),
        (
            SQL.replace("/posts.db", "/posts?mode=ro"),
            ["url: what is given is not the URL of a database; give sqlite:// and an absolute"],
        ),
        (
            SQL.replace("/srv/posts.db", "/var/lib/xmpprelay/relay.db"),
            ["url: is the relay's own database; posts are inserted into another one"],
        ),
        (ONE_ACCOUNT.replace("https", "http"), ["url: what is given does not begin with https://"]),
        (WEBHOOK.replace("https", "http"), ["url: what is given does not begin with https://"]),
        (WEBHOOK.replace("example.org", "a:b@c.org"), ["url: what is given has a user name in it"]),
        (WEBHOOK.replace("/posts", "/a b"), ["url: what is given has a space or a control"]),
        (ONE_ACCOUNT.replace(".example", ".example/web"), ["url: what is given has more than the"]),
        (PUBSUB.replace("pubsub.", "relay."), ['service: "relay.example.org" is the relay itself']),
        ("driver = 3\nservice = 'a.org'", ["driver: 3 is not allowed"]),
        (WEBHOOK + 'ca_file = "none.pem"', ["ca_file: "]),
    ],
)
def test_what_a_driver_lacks_or_does_not_use_is_told(
    folder: Folder, lines: str, expected: list[str]
) -> None:
    found = folder.problems(primary(lines))
    assert len(found) == len(expected)
    for problem, beginning in zip(found, expected, strict=True):
        assert problem.startswith(f"primary.{beginning}")
    assert not any("hunter2" in problem or WEBHOOK_SECRET in problem for problem in found)


def test_the_sample_may_be_kept_whatever_the_driver_is(folder: Folder) -> None:
    text = sample().replace('domain = ""', 'domain = "relay.example.org"', 1)
    text = text.replace('secret_file = ""', 'secret = "hunter2"', 1)
    text = text.replace('driver = "none"', SQL)
    assert folder.load(text).primary.driver == "sql"


def test_secrets_of_the_primary_may_come_from_files(folder: Folder) -> None:
    (folder.path / "secret").write_text(f"{WEBHOOK_SECRET}\n")
    (folder.path / "token").write_text("hunter2\n")
    webhook = WEBHOOK.replace(f'secret = "{WEBHOOK_SECRET}"', 'secret_file = "secret"')
    found = folder.load(primary(webhook)).primary
    assert found.secret.reveal() == WEBHOOK_SECRET
    one_account = ONE_ACCOUNT.replace('token = "hunter2"', 'token_file = "token"')
    found = folder.load(primary(one_account)).primary
    assert (found.token.reveal(), found.token_file) == ("hunter2", str(folder.path / "token"))
    problem = folder.problem(primary(webhook.replace('"secret"', '"token"')))
    assert problem.startswith(f"primary.secret_file: {folder.path}/token is not whsec_ and 24 to")
    (folder.path / "token").unlink()
    assert "token cannot be read (No such file" in folder.problem(primary(one_account))
    both = folder.problem(primary(ONE_ACCOUNT + 'token_file = "token"'))
    assert both.startswith("primary.token: token and token_file are given; leave all of them out")


def test_certificates_of_ones_own_are_looked_at(folder: Folder) -> None:
    file = folder.path / "ca.pem"
    text = primary(WEBHOOK + 'ca_file = "ca.pem"')
    for content, expected in ((None, "cannot be read (No such"), ("x", "holds no certificate")):
        if content is not None:
            file.write_text(content)
        assert expected in folder.problem(text)
    trustme.CA().cert_pem.write_to_path(file)
    assert folder.load(text).primary.ca_file == str(file)


# ---- warnings ----


def test_a_secret_file_that_others_can_read_is_warned_of(folder: Folder) -> None:
    file = folder.path / "secret"
    file.write_text("hunter2")
    text = WITH_FILE + f'[store]\nurl = "sqlite:///{folder.path}/relay.db"'
    file.chmod(0o640)
    (warning,) = warnings(folder.load(text))
    assert warning.startswith(f"{file} holds the secret and others can read it")
    file.chmod(0o600)
    assert warnings(folder.load(text)) == []


def test_a_configuration_with_the_secret_that_others_can_read_is_warned_of(folder: Folder) -> None:
    store = f'[store]\nurl = "sqlite:///{folder.path}/relay.db"'
    config = folder.load(LEAST + store)
    folder.file.chmod(0o644)
    assert "holds the secret" in warnings(config)[0]
    folder.file.chmod(0o600)
    assert warnings(config) == []
    config = folder.load(NO_SECRET + store, XMPPRELAY_SECRET="x")
    folder.file.chmod(0o644)
    assert warnings(config) == []


def test_files_of_the_primary_that_others_can_read_are_warned_of(folder: Folder) -> None:
    (folder.path / "token").write_text("hunter2")
    (folder.path / "secret").write_text("hunter2")
    for name in ("secret", "token"):
        (folder.path / name).chmod(0o600)
    store = f'[store]\nurl = "sqlite:///{folder.path}/relay.db"\n[primary]\n'
    text = WITH_FILE + store + ONE_ACCOUNT
    config = folder.load(text)
    folder.file.chmod(0o644)
    [warning] = warnings(config)
    assert warning.startswith(f"{folder.file} holds the secret and others can read it")
    config = folder.load(text.replace('token = "hunter2"', 'token_file = "token"'))
    assert warnings(config) == []
    (folder.path / "token").chmod(0o604)
    [warning] = warnings(config)
    assert warning.startswith(f"{folder.path}/token holds the token and others can read it")


def test_a_folder_of_feeds_that_cannot_be_written_to_is_warned_of(folder: Folder) -> None:
    store = f'[store]\nurl = "sqlite:///{folder.path}/relay.db"\n'
    text = LEAST + store + PAGES + "[feeds]\ndirectory = "
    folder.file.touch(mode=0o600)
    (folder.path / "there").mkdir()
    for name in ("there", "new"):
        assert warnings(folder.load(f'{text}"{name}"')) == []
    (folder.path / "file").write_text("in the way")
    for name in ("file", "nowhere/new"):
        [warning] = warnings(folder.load(f'{text}"{name}"'))
        assert warning.startswith(f"feeds.directory: {folder.path}/{name} is no folder")


def test_a_missing_folder_and_an_odd_server_are_warned_of(tmp_path: Path) -> None:
    config = Config(
        Xmpp(domain="example.org", secret=Secret("x")),
        store=Store(f"sqlite:///{tmp_path}/none/relay.db"),
    )
    missing, odd = warnings(config)
    assert missing.startswith(f"store.url: there is no folder {tmp_path}/none")
    assert odd.startswith('xmpp.local_domains: "org" hardly is a server')


# ---- sample and manual ----


def test_the_sample_names_the_two_things_to_fill_in(folder: Folder) -> None:
    problems = folder.problems(sample())
    assert [problem.partition(":")[0] for problem in problems] == [
        "xmpp.domain",
        "xmpp.secret_file",
    ]


def test_the_sample_filled_in_is_the_default(folder: Folder) -> None:
    (folder.path / "secret").write_text("hunter2")
    text = sample().replace('domain = ""', 'domain = "relay.example.org"', 1)
    text = text.replace('secret_file = ""', 'secret_file = "secret"', 1)
    assert folder.load(text) == folder.load(WITH_FILE)


def test_the_sample_has_every_option_with_its_explanation() -> None:
    given = tomllib.loads(sample())
    assert set(given) == set(OPTIONS)
    prose = sample().replace("\n# ", " ")
    for name, options in OPTIONS.items():
        mentioned = {key for key, entry in options.items() if entry.option.optional}
        assert set(given[name]) == set(options) - mentioned
        assert all(f'\n# {key} = "..."\n' in sample() for key in mentioned)
        for entry in options.values():
            assert entry.option.about.replace("`", "") in prose
            assert f"Allowed: {entry.option.allowed}." in prose


def test_the_manual_page_is_up_to_date() -> None:
    page = (HERE / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == markdown(), "run: xmpprelay config sample --markdown >docs/configuration.md"
