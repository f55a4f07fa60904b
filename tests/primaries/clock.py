"""Time that passes only when somebody sleeps."""

from datetime import UTC, datetime
from typing import Final

START: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()


class Clock:
    """For one task at a time: a sleep is over at once, and it is later then."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        """Unix seconds."""
        return self.at

    def utc(self) -> datetime:
        """The same, aware."""
        return datetime.fromtimestamp(self.at, UTC)

    async def sleep(self, wait_s: float) -> None:
        """Let time pass."""
        self.at += wait_s
