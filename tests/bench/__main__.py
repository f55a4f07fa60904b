"""`python -m tests.bench NAME`: one benchmark; without a name it says which there are."""

import argparse
from types import ModuleType
from typing import Final

from tests.bench import (
    crowded,
    fanout,
    floods,
    intake,
    journal,
    latency,
    limit,
    memory,
    multicast,
    plots,
    pubsub,
    returns,
    routing,
    settings,
    slow_domain,
    start,
    trickle,
    web,
)
from xmpprelay import log

BENCHMARKS: Final[dict[str, ModuleType]] = {
    "latency": latency,
    "fanout": fanout,
    "limit": limit,
    "pubsub": pubsub,
    "web": web,
    "routing": routing,
    "journal": journal,
    "trickle": trickle,
    "intake": intake,
    "floods": floods,
    "start": start,
    "returns": returns,
    "crowded": crowded,
    "memory": memory,
    "multicast": multicast,
    "settings": settings,
    "slow-domain": slow_domain,
    "plots": plots,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the relay.")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    for name, module in BENCHMARKS.items():
        about = (module.__doc__ or "").splitlines()[0]
        module.add_options(benchmarks.add_parser(name, help=about, description=about))
    asked = parser.parse_args()
    log.configure("warning")
    BENCHMARKS[asked.benchmark].run_as_asked(asked)


main()
