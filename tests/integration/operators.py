"""An operator at a shell, for tests of the command line.

What only a process can show (its exit code, signals, terminals, broken pipes) is shown by real
ones. The rest calls the same function as the console script does, since a process takes a second.
"""

import asyncio
import logging
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from xmpprelay.cli import execute

REPOSITORY = Path(__file__).resolve().parents[2]
SECRET = "hunter2"


@dataclass(frozen=True)
class Ended:
    """What a process has said, and how it ended."""

    code: int
    out: str
    err: str

    def failed(self, code: int = 1) -> str:
        """The sentence of an error: one line, no traceback, nothing on standard output."""
        assert (self.code, self.out) == (code, ""), self
        (line,) = self.err.splitlines()
        assert line.startswith("xmpprelay: "), self
        return line.removeprefix("xmpprelay: ")

    def worked(self) -> str:
        assert (self.code, self.err) == (0, ""), self
        return self.out


class Operator:
    """Somebody with a configuration, a folder for the database, and a shell."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.folder = folder
        self.config = folder / "xmpprelay.toml"
        self.database = folder / "relay.db"
        self.environ = {
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "",  # as for most people; it changes when an output fails
            "PYTHONWARNINGS": "error",
            "COLUMNS": "200",
            "TERM": "xterm",
        }
        self._capsys = capsys
        monkeypatch.setenv("XMPPRELAY_CONFIG", str(self.config))
        monkeypatch.setenv("XMPPRELAY_SECRET", SECRET)
        monkeypatch.chdir(folder)
        self.configure()

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"

    def configure(self, more: str = "", database: Path | None = None) -> None:
        self.config.write_text(
            f'[store]\nurl = "sqlite:///{database or self.database}"\n'
            f'[xmpp]\ndomain = "relay.example.org"\n{more}'
        )

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self, *arguments: str | Path) -> Ended:
        """Run a command line in this process."""
        self._capsys.readouterr()
        code = execute([*map(str, arguments)])
        return self._ended(code, *self._capsys.readouterr())

    async def run_beside(self, *arguments: str | Path) -> Ended:
        """As `run`, from a test that has a loop of its own."""
        return await asyncio.to_thread(self.run, *arguments)

    def start(self, *arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
        """Start a command line as a process, which hears Ctrl-C even if these tests do not."""
        return subprocess.Popen(
            [sys.executable, "-m", "xmpprelay", *map(str, arguments)],
            env=os.environ | self.environ,
            text=True,
            preexec_fn=_hears_interrupts,
            **(PIPES | options),
        )

    def run_process(self, *arguments: str | Path, **options: Any) -> Ended:
        """Run a command line as a process, to its end."""
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(timeout=60)
        return self._ended(process.returncode, out or "", err or "")

    def _ended(self, code: int, out: str, err: str) -> Ended:
        assert "Traceback" not in err
        assert SECRET not in out + err
        return Ended(code, out, err)


PIPES = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture
def operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Operator]:
    root_logger = logging.getLogger()
    handlers, level = root_logger.handlers, root_logger.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield Operator(tmp_path, monkeypatch, capsys)
    logging.captureWarnings(False)
    root_logger.handlers, root_logger.level = handlers, level
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    structlog.reset_defaults()


def on_a_terminal(operator: Operator, *arguments: str | Path) -> str:
    """What a command shows on a terminal of 200 columns."""
    master, slave = pty.openpty()
    with operator.start(*arguments, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        with suppress(OSError):  # the end of a terminal is an error, in Linux
            while part := os.read(master, 65536):
                shown += part
    os.close(master)
    assert process.returncode == 0, shown
    return shown.decode()


def _hears_interrupts() -> None:
    """A shell lets what it runs in the background ignore them, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
