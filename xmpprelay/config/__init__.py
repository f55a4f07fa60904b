"""The configuration: one TOML file in, one frozen `Config` out, or all mistakes at once.

`options.py` has every option once, with its type, default, explanation and what it allows;
`values.py` has the types. `reading.py` checks a file against that, `primary.py` what belongs to
which driver, and `sample.py` makes the sample and the manual page. pydantic checks single values
and is used nowhere else: a `Config` is made of plain frozen dataclasses. `addresses.py` knows what
a domain and a bare JID are.

Secrets are wrapped at once in `Secret`, which never shows what it holds; a mistake in an option
that may hold one says what kind of value was given, never the value.

This room reads nothing but the configuration, the files of secrets and certificates that it names,
and $XMPPRELAY_SECRET. It never looks at the network, the database or the clock.
"""

from xmpprelay.config.options import (
    SECRET_VARIABLE,
    Config,
    Contact,
    Feeds,
    Limits,
    Log,
    Primary,
    Registration,
    Retention,
    Store,
    Web,
    Xmpp,
)
from xmpprelay.config.primary import host_of
from xmpprelay.config.reading import load, warnings
from xmpprelay.config.sample import markdown, sample
from xmpprelay.config.values import Secret

__all__ = [
    "SECRET_VARIABLE",
    "Config",
    "Contact",
    "Feeds",
    "Limits",
    "Log",
    "Primary",
    "Registration",
    "Retention",
    "Secret",
    "Store",
    "Web",
    "Xmpp",
    "host_of",
    "load",
    "markdown",
    "sample",
    "warnings",
]
