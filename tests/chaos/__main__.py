"""`python -m tests.chaos [PART …]`, from the repository's folder; `make chaos` calls it.

Exit code 1 if anything was lost, came twice, or a control run lost nothing.
"""

import argparse
import asyncio
import shlex
import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tests.chaos import report
from tests.chaos.parts import PARTS, Run, live_through
from xmpprelay import log


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="The long runs.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seeds", type=int, metavar="N", help="so many worlds, or kills, of each")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="begin there")
    asked = parser.parse_args()
    unknown = [name for name in asked.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    log.configure("critical")  # kills are what the relay warns of, all the time
    console = Console()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    command = command_of(asked)
    rows: list[report.Row] = []

    def came(row: report.Row) -> None:
        report.add([row], command)
        rows.append(row)

    with progress:
        run = Run(progress, asked.seeds, asked.first_seed)
        asyncio.run(live_through(run, asked.parts or PARTS, came))
    report.show(console, rows)
    console.print(f"Lines for docs/reliability.md: {report.FILE}", markup=False, highlight=False)
    return 0 if all(row.well for row in rows) else 1


def command_of(asked: argparse.Namespace) -> str:
    """How the same is done again."""
    words = ["make chaos"]
    if asked.parts:
        words.append(f"ONLY={shlex.quote(' '.join(asked.parts))}")
    if asked.seeds is not None:
        words.append(f"SEEDS={asked.seeds}")
    if asked.first_seed:
        words.append(f"FIRST_SEED={asked.first_seed}")
    return " ".join(words)


if __name__ == "__main__":  # the simulation's processes import this file
    sys.exit(main())
