"""What people send is worked off one thing after the other for each, side by side for all.

So two posts of one author never swap, and `join` is through before the post behind it. What a
stranger could make grow is bounded: above the bounds a thing is not taken, and its sender is told
to try later. Strangers have a bound of their own, so that any number of them leaves room for those
who post and follow here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from xmpprelay.log import get_logger

log = get_logger("intake")

PER_SENDER: Final = 64
"""Things of one sender that wait; far above any burst that his rate allows."""

IN_ALL: Final = 1000
"""Things that wait, of all senders together."""

OF_STRANGERS: Final = 250
"""Of these, things of people without a handle and without a follow."""

Affair = Callable[[], Coroutine[Any, Any, None]]


class Intake:
    """Queues of affairs, one for each sender who has any.

    `is_stranger` says of a bare JID whether the bound of strangers holds for it.
    """

    def __init__(self, is_stranger: Callable[[str], bool] = lambda _: False) -> None:
        self._is_stranger = is_stranger
        self._queues: dict[str, deque[tuple[Affair, bool]]] = {}
        self._waiting = 0
        self._of_strangers = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.failures = 0  # affairs that raised something unforeseen
        self.not_taken = 0

    def put(self, sender: str, affair: Affair) -> bool:
        """Queue an affair behind the sender's others; False: there are too many, it is not."""
        queue = self._queues.get(sender)
        if self._waiting >= IN_ALL or (queue is not None and len(queue) >= PER_SENDER):
            self.not_taken += 1
            return False
        stranger = self._is_stranger(sender)
        if stranger and self._of_strangers >= OF_STRANGERS:
            self.not_taken += 1
            return False
        self._waiting += 1
        self._of_strangers += stranger
        if queue is not None:
            queue.append((affair, stranger))
            return True
        self._queues[sender] = deque([(affair, stranger)])
        self._idle.clear()
        task = asyncio.get_running_loop().create_task(self._work_off(sender))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def drained(self) -> None:
        """Return when nothing waits."""
        await self._idle.wait()

    async def _work_off(self, sender: str) -> None:
        queue = self._queues[sender]
        while queue:
            affair, stranger = queue.popleft()
            try:
                await affair()
            except Exception:  # the top of the loop: one affair must not take the others with it
                self.failures += 1
                log.exception("affair.failed")
            self._waiting -= 1
            self._of_strangers -= stranger
        del self._queues[sender]
        if not self._queues:
            self._idle.set()
