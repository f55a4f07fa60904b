"""Every error that the relay tells to somebody, in one tree.

    XmppRelayError                a sentence that says what to do
    ├── RelayError                told to a person over XMPP: an RFC 6120 condition and type as well
    │   ├── BadRequest            nothing to post, or not to be read
    │   ├── BadEntry              an item that is no Atom entry with a text
    │   ├── BadCommand            a line that looks like a command and is none; carries the usage
    │   ├── NotThere              a command for what this relay has not
    │   ├── NotRegistered         posting needs a handle
    │   ├── UnknownHandle         nobody here has that handle
    │   ├── Moved                 somebody had that address and has another one
    │   ├── HandleRefused         ill-formed, reserved, taken, or too like another
    │   ├── TooLong               over the limits of a post
    │   ├── TooFast               over the rate; carries when to try again
    │   ├── TooMany               over a limit of what one person may hold
    │   ├── Taken                 an item of that id was there, and is not to be made again
    │   ├── Refused               not done, for a reason the person may know
    │   └── TryLater              the journal or the intake cannot take it now; nothing was stored
    ├── StoreError                the database
    │   ├── JournalFull           no room on the disk; nothing was written
    │   ├── SchemaTooNew          made by a later version
    │   ├── StoreLocked           another instance has it
    │   ├── CopiedBack            older than the last run: `restore` is the way
    │   └── StoreCorrupt          the file does not pass its check
    ├── StreamError               the XMPP server cannot be reached, or refuses us
    ├── ConfigError               all mistakes of a configuration at once
    ├── WrongKey                  a token in the database cannot be decrypted (`secretbox.py`)
    ├── PeopleFileError           all mistakes of a file of people at once (`people_csv.py`)
    └── ControlError              the running relay did not do it (`control.py`)
        └── ControlUnavailable    no relay is running on this database

A duplicate is a result, not an error. The mapping to stanza errors happens once, in
`xmpp/component.py`; the mapping to exit codes once, in `cli.py`.
"""

from collections.abc import Sequence


class XmppRelayError(Exception):
    """An error whose text is one sentence for people that says what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class RelayError(XmppRelayError):
    """Told to a person over XMPP: RFC 6120 §8.3 condition and type, and the sentence."""

    condition = "undefined-condition"
    type = "cancel"
    specific: str | None = None  # the tag of the condition of a protocol on top (RFC 6120 §8.3.4)
    feature: str | None = None  # of a condition that says which feature there is not (XEP-0060)


class BadRequest(RelayError):
    """The stanza holds nothing that can be used."""

    condition = "bad-request"
    type = "modify"


class BadEntry(BadRequest):
    """What was to be published is no Atom entry with a text in it (XEP-0060 §7.1.3.6)."""

    specific = "{http://jabber.org/protocol/pubsub#errors}invalid-payload"


class BadCommand(RelayError):
    """A line that looks like a command and is none; `usage` is how it is typed."""

    condition = "bad-request"
    type = "modify"

    def __init__(self, sentence: str, usage: str = "") -> None:
        super().__init__(sentence)
        self.usage = usage


class NotThere(RelayError):
    """The command needs what this relay has not, such as pages."""

    condition = "feature-not-implemented"
    type = "cancel"


class NotRegistered(RelayError):
    """Posting needs a handle (S12)."""

    condition = "registration-required"
    type = "auth"


class UnknownHandle(RelayError):
    """Nobody here has that handle."""

    condition = "item-not-found"
    type = "cancel"


class Moved(RelayError):
    """Somebody had that address, and has another one now (S12.2; RFC 6120 §8.3.3.5)."""

    condition = "gone"
    type = "cancel"


class UnknownPost(RelayError):
    """There is no such post, or not for this person (S6.1: the same words)."""

    condition = "item-not-found"
    type = "cancel"


class HandleRefused(RelayError):
    """The handle is ill-formed, reserved, taken, or too like another (S12.1)."""

    condition = "not-acceptable"
    type = "modify"


class HandleTaken(HandleRefused):
    """Somebody else has, or had, the handle or one like it (XEP-0077 §3.1: conflict)."""

    condition = "conflict"
    type = "cancel"


class TooLong(RelayError):
    """The text is over the limits of a post."""

    condition = "policy-violation"
    type = "modify"


class TooFast(RelayError):
    """The author is over his rate (S10.5); `retry_after_s` says when to try again."""

    condition = "policy-violation"
    type = "wait"

    def __init__(self, sentence: str, retry_after_s: float) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class TooMany(RelayError):
    """A limit of what one person, or one domain, may hold is reached."""

    condition = "resource-constraint"
    type = "wait"


class Refused(RelayError):
    """Not done, for a reason that the person may know."""

    condition = "not-allowed"
    type = "cancel"


class Taken(RelayError):
    """The id of an item that cannot be used, or not any more."""

    condition = "conflict"
    type = "cancel"


class TryLater(RelayError):
    """Nothing was stored; the same stanza may be sent again later (S10.5, promise 2)."""

    condition = "resource-constraint"
    type = "wait"


class StoreError(XmppRelayError):
    """The database did not do it; nothing of the transaction was kept."""


class JournalFull(StoreError):
    """No room on the disk. What was to be written was not."""


class SchemaTooNew(StoreError):
    """The database was made by a later version of the relay."""


class StoreLocked(StoreError):
    """Another instance has the database open for writing."""


class CopiedBack(StoreError):
    """The database is older than the last run of the relay on it."""


class StoreCorrupt(StoreError):
    """The database file does not pass its check."""


class StreamError(XmppRelayError):
    """The XMPP server cannot be reached, or refuses the component."""


class ConfigError(XmppRelayError):
    """All mistakes of a configuration at once.

    `problems` holds one sentence a mistake, in the order of the file, each beginning with its key.
    """

    def __init__(self, sentence: str, problems: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.problems = tuple(problems)


class WrongKey(XmppRelayError):
    """A token was encrypted with a key that is not in the key file, or is not where it belongs."""
