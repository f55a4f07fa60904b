"""The file of `--json`: when it was, what was asked for, and what was found."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path


def write(file: Path | None, plan: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Write figures to a file, if one is named; `plots.py` draws them."""
    if file is not None:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        told = {"when": when, "plan": dict(plan), **found}
        file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
