"""`python -m tests.bench latency`, `slow-domain`, `pubsub`, `web` or `routing`."""

import argparse
import asyncio
from pathlib import Path

from tests.bench import (
    fanout,
    floods,
    intake,
    journal,
    latency,
    limit,
    pubsub,
    routing,
    slow_domain,
    start,
    trickle,
    web,
)
from xmpprelay import log


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the relay.")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    of_latency = benchmarks.add_parser("latency", help=latency.__doc__.splitlines()[0])
    of_latency.add_argument("--posts", type=int, default=200, metavar="N")
    of_slow = benchmarks.add_parser("slow-domain", help=slow_domain.__doc__.splitlines()[0])
    of_slow.add_argument("--posts", type=int, default=200, metavar="N")
    of_slow.add_argument("--rounds", type=int, default=5, metavar="N")
    of_pubsub = benchmarks.add_parser("pubsub", help=pubsub.__doc__.splitlines()[0])
    of_pubsub.add_argument("--posts", type=int, default=100, metavar="N")
    of_web = benchmarks.add_parser("web", help=web.__doc__.splitlines()[0])
    of_web.add_argument("--posts", type=int, default=100, metavar="N")
    of_web.add_argument("--rounds", type=int, default=5, metavar="N")
    benchmarks.add_parser("routing", help=routing.__doc__.splitlines()[0])
    of_journal = benchmarks.add_parser("journal", help=journal.__doc__.splitlines()[0])
    of_journal.add_argument("--rounds", type=int, default=5, metavar="N")
    of_journal.add_argument("--backlog", type=int, default=1_000_000, metavar="N")
    of_journal.add_argument("--json", type=Path, metavar="FILE")
    of_start = benchmarks.add_parser("start", help=start.__doc__.splitlines()[0])
    of_start.add_argument("--rounds", type=int, default=5, metavar="N")
    of_start.add_argument("--people", type=int, default=100_000, metavar="N")
    of_start.add_argument("--json", type=Path, metavar="FILE")
    fanout.add_options(benchmarks.add_parser("fanout", help=fanout.__doc__.splitlines()[0]))
    floods.add_options(benchmarks.add_parser("floods", help=floods.__doc__.splitlines()[0]))
    intake.add_options(benchmarks.add_parser("intake", help=intake.__doc__.splitlines()[0]))
    limit.add_options(benchmarks.add_parser("limit", help=limit.__doc__.splitlines()[0]))
    trickle.add_options(benchmarks.add_parser("trickle", help=trickle.__doc__.splitlines()[0]))
    asked = parser.parse_args()
    log.configure("warning")
    if asked.benchmark == "latency":
        asyncio.run(latency.main(asked.posts))
    elif asked.benchmark == "pubsub":
        asyncio.run(pubsub.main(asked.posts))
    elif asked.benchmark == "web":
        asyncio.run(web.main(asked.posts, asked.rounds))
    elif asked.benchmark == "routing":
        routing.run()
    elif asked.benchmark == "journal":
        journal.run(asked.rounds, asked.backlog, asked.json)
    elif asked.benchmark == "start":
        start.run(asked.rounds, asked.people, asked.json)
    elif asked.benchmark == "fanout":
        fanout.run_as_asked(asked)
    elif asked.benchmark == "floods":
        floods.run_as_asked(asked)
    elif asked.benchmark == "intake":
        intake.run_as_asked(asked)
    elif asked.benchmark == "limit":
        limit.run_as_asked(asked)
    elif asked.benchmark == "trickle":
        trickle.run_as_asked(asked)
    else:
        asyncio.run(slow_domain.main(asked.posts, asked.rounds))


main()
