"""The sample configuration and the manual page, both made from `options.py`."""

import textwrap
from collections.abc import Iterator
from datetime import timedelta

from xmpprelay.config.options import OPTIONS, TABLES, Entry
from xmpprelay.config.values import FOREVER, span_text


def sample() -> str:
    """A configuration with every option, its explanation and its default.

    It loads as soon as `xmpp.domain` and `xmpp.secret_file` are filled in.
    """
    lines = [
        "# The configuration of xmpprelay. Fill in domain and secret_file of [xmpp];",
        "# everything else may stay as it is, or be left out.",
        "# `xmpprelay config check --config FILE` says what is wrong with it.",
    ]
    for name, table in TABLES.items():
        lines += ["", *_comment(table.__doc__ or ""), f"[{name}]"]
        for key, entry in OPTIONS[name].items():
            lines += ["", *_comment(entry.option.about.replace("`", ""))]
            lines += [*_comment(f"Allowed: {entry.option.allowed}.")]
            if entry.option.optional:
                lines.append(f'# {key} = "..."')
            else:
                lines.append(f"{key} = {_default(entry)}")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The manual page of the configuration, docs/configuration.md."""
    lines = [_HEAD]
    for name, table in TABLES.items():
        lines += ["", f"## [{name}]", "", table.__doc__ or "", ""]
        lines += ["| option | default | allowed | meaning |", "| --- | --- | --- | --- |"]
        for key, entry in OPTIONS[name].items():
            option = entry.option
            default = "" if option.fill_in or option.optional else f"`{_default(entry)}`"
            cells = (f"`{key}`", default, option.allowed, option.about)
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"


_HEAD = """\
# Configuration

<!-- Made by `xmpprelay config sample --markdown`; change xmpprelay/config/, not this page. -->

One TOML file, by default `/etc/xmpprelay/xmpprelay.toml`; `--config FILE` or the environment
variable `XMPPRELAY_CONFIG` names another. `xmpprelay config sample` prints one to begin with.
`xmpprelay config check` tells all mistakes at once, each with the option's name and what is
allowed, and `xmpprelay run` does the same before it starts. What this version does not know is a
mistake.

The least that is needed:

```toml
[xmpp]
domain = "relay.example.org"
secret_file = "/etc/xmpprelay/secret"
```

Besides the mistakes, `config check` warns of what is allowed but hardly meant: a file with the
secret that other users can read, a database in a folder that is not there, a server's domain
without a dot."""


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in textwrap.wrap(text, 90, break_on_hyphens=False))


def _default(entry: Entry) -> str:
    return '""' if entry.option.fill_in else _toml(entry.default)


def _toml(value: object) -> str:
    """A default as TOML; only the kinds of value that defaults have."""
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return f'"{FOREVER}"'
    if isinstance(value, timedelta):
        return f'"{span_text(value)}"'
    return f'"{value}"' if isinstance(value, str) else str(value)
