"""The fuzz targets, for some seconds each.

`make test` begins with the same seed each time: what it finds then comes of the change that is
tested. To look for what nobody has found yet is for `make chaos`, which sets XMPPRELAY_FUZZ_S: so
many seconds for each, from another seed each time.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

FUZZ_S: Final = int(os.environ.get("XMPPRELAY_FUZZ_S", "20"))
SEED: Final = 0 if "XMPPRELAY_FUZZ_S" in os.environ else 1
"""libFuzzer's; 0: by the time."""

REPOSITORY: Final = Path(__file__).parents[2]

MOST_SEEDS: Final = 40
"""No target begins with as many."""

_STARTS_WITHIN_S: Final = 240.0
"""It takes ten; a machine that is busy with tests may need many times that."""


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no build for this Python"
)
@pytest.mark.timeout(FUZZ_S + 2 * _STARTS_WITHIN_S)
@pytest.mark.parametrize(
    ("target", "longest"),
    [
        ("stanza_intake", 2048),
        ("grammar", 512),
        ("primary_answers", 2048),
        ("atom_entry", 2048),
    ],
    ids=["stanzas", "grammar", "answers", "entries"],
)
def test_no_input_raises_anything(target: str, longest: int, tmp_path: Path) -> None:
    corpus, found = tmp_path / "corpus", tmp_path / "found"
    corpus.mkdir()
    found.mkdir()
    fuzzer = subprocess.run(
        [
            *(sys.executable, "-m", f"tests.fuzz.{target}", str(corpus)),
            *(
                f"-max_total_time={FUZZ_S}",
                f"-seed={SEED}",
                f"-max_len={longest}",
                "-len_control=0",
                "-timeout=60",
                "-rss_limit_mb=2048",
            ),
            *("-print_final_stats=1", f"-artifact_prefix={found}/"),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=FUZZ_S + _STARTS_WITHIN_S,
        check=False,
    )
    inputs = [f"{path.name}: {path.read_bytes()!r}" for path in found.iterdir()]
    assert fuzzer.returncode == 0, "\n".join([*inputs, fuzzer.stdout[-4000:]])
    done = re.search(r"number_of_executed_units: (\d+)", fuzzer.stdout)
    assert done is not None, fuzzer.stdout[-2000:]
    assert int(done[1]) > MOST_SEEDS, "no more than the seeds"
