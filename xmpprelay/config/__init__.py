"""The configuration: one TOML file in, one frozen `Config` out, or all mistakes at once.

`options.py` has every option once, with its type, default, explanation and what it allows;
`reading.py` checks a file against that, and `sample.py` makes the sample and the manual page of it.
pydantic checks single values and is used nowhere else: a `Config` is made of plain frozen
dataclasses. `addresses.py` knows what a domain and a bare JID are.

Secrets are wrapped at once in `Secret`, which never shows what it holds; a mistake in an option
that may hold one says what kind of value was given, never the value.

This room reads nothing but the configuration, the secret's file and $XMPPRELAY_SECRET. It never
looks at the network, the database or the clock.
"""

from xmpprelay.config.options import (
    SECRET_VARIABLE,
    Config,
    Contact,
    Limits,
    Log,
    Registration,
    Secret,
    Store,
    Xmpp,
)
from xmpprelay.config.reading import load, warnings
from xmpprelay.config.sample import markdown, sample

__all__ = [
    "SECRET_VARIABLE",
    "Config",
    "Contact",
    "Limits",
    "Log",
    "Registration",
    "Secret",
    "Store",
    "Xmpp",
    "load",
    "markdown",
    "sample",
    "warnings",
]
