"""Who follows, and who posts: from a CSV file, or new ones with names that nobody has.

    jid,password
    bench0@example.org,dae7…

The first one posts, the others follow him. Accounts made for this, please: at the end their contact
lists forget the relay, and what clients of real people would get is not for them.
"""

import csv
import secrets
from collections.abc import Iterable, Iterator
from typing import Final

from xmpprelay.bench.dialogues import Login
from xmpprelay.config.addresses import bare_jid
from xmpprelay.errors import XmppRelayError

HEADER: Final = ["jid", "password"]


class AccountsError(XmppRelayError):
    """There are no accounts, or not enough, in what should have them."""


def parse_accounts(lines: Iterable[str], file: str, followers: int) -> list[Login]:
    """One more than so many accounts of a file, in its order; AccountsError with its first mistake.

    `file` is its name. Empty lines are skipped.
    """
    found: dict[str, Login] = {}
    for number, account in _rows(lines, file):
        if account.jid in found:
            raise AccountsError(f"{file}, line {number}: {account.jid} is there twice.")
        first = next(iter(found.values()), account)
        if account.domain != first.domain:
            raise AccountsError(
                f"{file}, line {number}: {account.jid} is not of {first.domain}, as the first one "
                "is: take accounts of one domain."
            )
        found[account.jid] = account
    if len(found) <= followers:
        raise AccountsError(
            f"{file} has {_counted(len(found))}, and {followers} followers and an author need "
            f"{followers + 1}: make more accounts"
            + (f", or take --followers {len(found) - 1}." if len(found) > 1 else ".")
        )
    return list(found.values())[: followers + 1]


def new_accounts(domain: str, followers: int) -> list[Login]:
    """As many, which are not there yet and are nobody's."""
    name = f"xmpprelay-bench-{secrets.token_hex(4)}"
    return [
        Login(f"{name}-{number}@{domain}", secrets.token_hex(16)) for number in range(followers + 1)
    ]


def _rows(lines: Iterable[str], file: str) -> Iterator[tuple[int, Login]]:
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        if [cell.strip().lower() for cell in header] != HEADER:
            raise AccountsError(f"The first line of {file} has to be {','.join(HEADER)}.")
        for cells in reader:
            if any(cells):
                yield reader.line_num, _login(cells, f"{file}, line {reader.line_num}")
    except csv.Error as error:
        raise AccountsError(f"{file}, line {reader.line_num}: this is not CSV ({error}).") from None
    except UnicodeDecodeError:
        line = reader.line_num + 1
        raise AccountsError(f"{file}, line {line}: there is no UTF-8 text.") from None


def _login(cells: list[str], where: str) -> Login:
    if len(cells) != len(HEADER) or not cells[1]:
        raise AccountsError(f"{where}: this has to be a JID and a password, with a comma between.")
    try:
        return Login(bare_jid(cells[0].strip()), cells[1])
    except ValueError as error:
        raise AccountsError(f"{where}: {cells[0].strip()} {error}.") from None


def _counted(count: int) -> str:
    return "one account" if count == 1 else f"{count} accounts"
