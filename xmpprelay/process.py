"""The relay as a process: it runs until a signal ends it, and tells its service manager how it is.

Readiness is told when the stream to the server is up (`service.py`).
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Final

from xmpprelay.config import Config
from xmpprelay.errors import StoreError
from xmpprelay.log import get_logger
from xmpprelay.service import Service

log = get_logger("service")

_SWITCH_S: Final = 0.0005
"""A tenth of the usual: after so long the writer's thread, with a post, has its turn in a flood."""

_GC_THRESHOLDS: Final = (20_000, 20, 20)
"""Of objects, and of rounds of the younger generation (`gc.set_threshold`)."""


def _tune_the_interpreter() -> None:
    """Leave what was loaded at the start out of the garbage collector; let threads change soon.

    All that came from the database stays as long as the relay runs. With the usual thresholds a
    burst of stanzas, which are parsed into some hundred thousand objects, makes the collector walk
    through all of that time and again: a quarter of the time that 20,000 presences took.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def run(config: Config) -> int:
    """Run a relay until SIGTERM or SIGINT; the exit code.

    Raises StoreError or StreamError with what to do when it cannot start.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    service = await Service.open(config)
    stopped = loop.create_task(ended.wait())
    failed = loop.create_task(service.db.failed.wait())
    starting = loop.create_task(service.start())
    try:
        await asyncio.wait({starting, stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            connected = starting.result()
            _tune_the_interpreter()
            notify("READY=1")
            log.info("relay.ready", domain=config.xmpp.domain)
            await asyncio.wait({stopped, failed, connected}, return_when=asyncio.FIRST_COMPLETED)
            if connected.done():
                connected.result()  # never ends by itself but by a fault of ours
    finally:
        notify("STOPPING=1")
        for task in (starting, stopped, failed):
            task.cancel()
        await asyncio.wait({starting})
        with contextlib.suppress(StoreError):
            await service.stop()
    if service.db.failure is not None:
        raise service.db.failure
    log.info("relay.stopped")
    return 0


def notify(state: str, environment: Mapping[str, str] = os.environ) -> None:
    """Tell the service manager a state, where there is one (sd_notify(3))."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)
    except OSError as error:
        sys.stderr.write(f"xmpprelay: cannot notify the service manager: {error.strerror}\n")
