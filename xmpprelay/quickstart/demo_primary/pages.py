"""What people see of it: the public timeline, and the form where one lets a program in.

Plain HTML without scripts; everything that somebody wrote is escaped. The timeline fetches itself
anew by a header that browsers know.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from xmpprelay.quickstart.demo_primary.store import Kept

FRESH_S: Final = 2
"""How often the timeline fetches itself."""

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_MARKED: Final = re.compile(
    r"https?://[^\s<>\"]+|(?<![\w/=@])@(?P<name>\w{1,30}(?:@[\w-]+(?:\.[\w-]+)*(?::\d+)?)?)"
)

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1d21; --faint: #62656f; --paper: #f4f4f6;
  --card: #fff; --line: #dddee3; --mark: #4a4fd8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ec; --faint: #a0a3ae; --paper: #17181c;
  --card: #202127; --line: #34353d; --mark: #a5a9ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 40rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
h1 { font-size: 1.4rem; line-height: 1.25; margin: 0; }
.sub, time, .kind { color: var(--faint); font-size: .875rem; }
.sub { margin: .25rem 0 1.25rem; }
ol { list-style: none; margin: 0; padding: 0; }
li, form { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
li { padding: .7rem .9rem; margin: 0 0 .6rem; }
li header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; }
li p, li img { margin: .15rem 0 0; overflow-wrap: anywhere; }
li img { display: block; max-width: 100%; max-height: 16rem; border-radius: .4rem; }
a { color: var(--mark); }
time a { color: inherit; text-decoration: none; }
form { padding: 1rem; }
label { display: block; margin: 0 0 .8rem; }
input { display: block; width: 100%; font: inherit; padding: .5rem .6rem; margin-top: .2rem;
  border: 1px solid var(--line); border-radius: .4rem; background: var(--paper); color: inherit; }
button { font: inherit; padding: .55rem 1.1rem; border: 0; border-radius: .4rem;
  background: var(--mark); color: var(--card); font-weight: 600; }
code { display: block; font-size: 1.05rem; padding: .7rem .8rem; overflow-wrap: anywhere;
  background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  user-select: all; }
.wrong { color: #c2272d; font-weight: 600; }
@media (prefers-color-scheme: dark) { .wrong { color: #ff8f8f; } }
"""


def timeline(statuses: Sequence[Kept], count: int) -> str:
    """The newest public posts."""
    items = "".join(_item(each) for each in statuses)
    head = f"{count} public post{'' if count == 1 else 's'}" if count else "No public posts yet"
    more = f", the newest {len(statuses)} of them here" if count > len(statuses) else ""
    return _page(
        "The demo primary",
        "<h1>The demo primary</h1>"
        f'<p class="sub">{head}{more}. This page fetches itself every {FRESH_S} seconds; while the '
        "primary is down it is gone too.</p>"
        f"<ol>{items}</ol>",
    )


def one(status: Kept) -> str:
    """One post."""
    return _page(f"@{status.name}", f"<ol>{_item(status)}</ol>")


def authorize(app: str, scopes: Iterable[str], fields: Mapping[str, str], wrong: str = "") -> str:
    """The form where somebody logs in and lets a program in; `fields` come back with it."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in fields.items()
    )
    told = f'<p class="wrong">{escape(wrong)}</p>' if wrong else ""
    return _page(
        "Let a program in",
        f"<h1>Let {escape(app)} in?</h1>"
        f'<p class="sub">It asks for: {escape(", ".join(scopes))}.</p>'
        f'<form method="post" action="/oauth/authorize">{told}{hidden}'
        '<label>Account<input name="name" autocomplete="username" autocapitalize="none" '
        "required autofocus></label>"
        '<label>Password<input name="password" type="password" '
        'autocomplete="current-password" required></label>'
        "<button>Let it in</button></form>",
    )


def code(app: str, text: str) -> str:
    """The code that one gives to the program oneself."""
    return _page(
        "Your code",
        f"<h1>Your code for {escape(app)}</h1>"
        '<p class="sub">Send it as <b>link CODE</b>. It is good for ten minutes, and once.</p>'
        f'<code id="code">{escape(text)}</code>',
    )


def refused(sentence: str) -> str:
    """Why there is no form."""
    return _page("It cannot be done", f"<h1>It cannot be done</h1><p>{escape(sentence)}</p>")


def content(text: str, address_of: Callable[[str], str | None]) -> str:
    """A text as HTML: links, accounts for whose name (`alice`, `alice@host`) there is an address,
    lines."""
    parts, at = [], 0
    for found in _MARKED.finditer(text):
        parts.append(escape(text[at : found.start()]))
        at = found.end()
        typed = found["name"]
        address = found[0] if typed is None else address_of(typed)
        if address is None:
            parts.append(escape(found[0]))
        elif typed is None:
            parts.append(
                f'<a href="{escape(address)}" rel="nofollow noopener">{escape(found[0])}</a>'
            )
        else:
            parts.append(
                f'<span class="h-card"><a href="{escape(address)}" class="u-url mention">'
                f"@<span>{escape(typed.partition('@')[0])}</span></a></span>"
            )
    parts.append(escape(text[at:]))
    paragraphs = re.split(r"\n{2,}", "".join(parts))
    return "".join(f"<p>{each.replace(chr(10), '<br>')}</p>" for each in paragraphs)


def mentioned(text: str) -> list[str]:
    """The names in a text that may be accounts."""
    return [found["name"] for found in _MARKED.finditer(text) if found["name"] is not None]


def iso(at_ms: int) -> str:
    """A time as the API has it."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03}Z"


def _item(status: Kept) -> str:
    at = datetime.fromtimestamp(status.created_ms / 1000, UTC)
    kinds = [
        kind
        for kind, there in (
            ("reply", status.parent is not None),
            ("edited", status.edited_ms is not None),
            (status.visibility, status.visibility != "public"),
        )
        if there
    ]
    kind = f' <span class="kind">{escape(", ".join(kinds))}</span>' if kinds else ""
    images = "".join(f'<img src="/media/{each}" alt="">' for each in status.media)
    return (
        f"<li><header><span><b>@{escape(status.name)}</b>{kind}</span>"
        f'<time datetime="{iso(status.created_ms)}"><a href="/@{escape(status.name)}/{status.id}">'
        f"{at:%H:%M:%S} UTC</a></time></header>{content(status.text, _nobody)}{images}</li>"
    )


def _nobody(_name: str) -> None:
    return None


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>"
    )
