"""Each rule is needed: a test fails as soon as one of them is set back.

A mutant is a patch file here. Its head says what it sets back and which test has to notice:

    Sets back: the slot of a window is free when its barrier is answered.
    Test: tests/properties/test_fanout.py

It is applied to a copy of the package; there only that test runs.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parent.parent
MUTANTS: Final = sorted(FOLDER.glob("*.patch"))

SEEDS: Final = "75"
"""Worlds of the fan-out's simulation; most mutants fail in the first few."""

WITHIN_S: Final = 100.0

FAILED: Final = 1
"""pytest's exit code when tests ran and failed: not that of a copy in which nothing works."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its tests, to be broken."""
    rubbish = shutil.ignore_patterns("__pycache__", ".*", "*.pyc")
    for name in ("xmpprelay", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=rubbish)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(copy: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    # Git must not find a repository around the copy, nor pytest the package that is installed.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    environment |= {
        "GIT_CEILING_DIRECTORIES": str(copy.parent),
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "XMPPRELAY_SEEDS": SEEDS,
    }
    return subprocess.run(
        command,
        cwd=copy,
        env=environment,
        timeout=WITHIN_S,
        capture_output=True,
        text=True,
        check=False,
    )


def run_test(copy: Path, *tests: str) -> "subprocess.CompletedProcess[str]":
    options = ["-x", "-q", "-p", "no:cacheprovider"]
    if tests[0].startswith(("tests/unit/", "tests/properties/")):
        options.append("--noconftest")  # they need no servers, and are quicker without
    return run(copy, sys.executable, "-m", "pytest", *options, *tests)


def named_test(mutant: Path) -> str:
    named = re.search(r"^Test: (\S+)$", mutant.read_text(), re.MULTILINE)
    assert named is not None, f"{mutant.name} does not name its test"
    return named[1]


def test_without_a_mutant_the_copy_is_well(copy: Path) -> None:
    where = run(copy, sys.executable, "-c", "import xmpprelay; print(xmpprelay.__file__)")
    assert where.stdout.strip() == str(copy / "xmpprelay" / "__init__.py")
    result = run_test(copy, "tests/properties/test_fanout.py", "-k", "same_life")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.stem)
def test_a_mutant_is_noticed(mutant: Path, copy: Path) -> None:
    applied = run(copy, "git", "apply", str(mutant))
    assert applied.returncode == 0, f"{mutant.name} is out of date: {applied.stderr}"
    result = run_test(copy, named_test(mutant))
    assert result.returncode == FAILED, f"{mutant.name} was not noticed:\n{result.stdout[-2000:]}"


def test_each_mutant_says_what_it_sets_back() -> None:
    assert MUTANTS
    for mutant in MUTANTS:
        assert mutant.read_text().startswith("Sets back: ")
        assert (ROOT / named_test(mutant).partition("::")[0]).exists()
