"""The process: `python -m xmpprelay.quickstart.demo_primary --database FILE --port N`.

Accounts are made in the database beforehand (`DemoStore.join`). It listens on 127.0.0.1 and nowhere
else, until SIGTERM or SIGINT.
"""

import argparse
import sys
from pathlib import Path

from aiohttp import web

from xmpprelay.quickstart.demo_primary.app import HOST, app_of
from xmpprelay.quickstart.demo_primary.store import DemoStore


def main(arguments: list[str]) -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="demo_primary", description="A demo primary service.")
    parser.add_argument("--database", type=Path, required=True, help="what it keeps")
    parser.add_argument("--port", type=int, required=True, help=f"of {HOST}")
    given = parser.parse_args(arguments)
    store = DemoStore(given.database)
    try:
        web.run_app(
            app_of(store),
            host=HOST,
            port=given.port,
            print=None,
            access_log=None,
            shutdown_timeout=1.0,
        )
    finally:
        store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
