"""What every driver can do: the whole outside world of the trickle.

For each request a driver gives exactly one `Result`, and never raises for what a network or a
server can do. What decides between RETRY and UNKNOWN is whether a byte of the request may have
reached the service: until the connection stands (with TLS), certainly not.

A driver keeps no state that matters: after a kill, a new one goes on.
"""

from typing import Protocol

from xmpprelay.core.primary import Account, Attempt, File, Look, Probe, Result, Status


class Primary(Protocol):
    """One primary service. Safe to be called from many tasks at once."""

    async def probe(self, account: Account | None = None) -> Probe:
        """Whether it would take something now, and what it can do; writes nothing.

        With an account, whether that account's credentials hold.
        """

    async def insert(self, account: Account, status: Status, key: str) -> Result:
        """Insert a status. `key` is the same for tries whose outcome was unclear."""

    async def edit(self, account: Account, remote_id: str, status: Status, key: str) -> Result:
        """Give an inserted status the text of `status`. Doing it again does no harm."""

    async def delete(self, account: Account, remote_id: str) -> Result:
        """Take an inserted status away; one that is not there is INSERTED as well."""

    async def upload(self, account: Account, file: File) -> Result:
        """Upload an attachment; the result's `remote_id` is for `Status.media`."""

    async def reconcile(self, account: Account, attempt: Attempt) -> Look:
        """Look whether a status that was sent is there."""

    async def aclose(self) -> None:
        """Let go of connections; nothing is asked afterwards."""
