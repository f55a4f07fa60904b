"""`python -m tests.bench latency`, from the repository's folder."""

import argparse
import asyncio

from tests.bench import latency
from xmpprelay import log


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the relay.")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    of_latency = benchmarks.add_parser("latency", help=latency.__doc__.splitlines()[0])
    of_latency.add_argument("--posts", type=int, default=200, metavar="N")
    asked = parser.parse_args()
    log.configure("warning")
    asyncio.run(latency.main(asked.posts))


main()
