"""The command line: `xmpprelay COMMAND …`.

Here are the list of commands and the one place where an error becomes a line on standard error and
an exit code. What a command does stands in the file of its subject; what they share, in
`shared.py`. Whatever takes time to import is imported inside the commands, so that `--help` answers
at once.

An error is one line, "xmpprelay: " and a sentence that says what to do; only the mistakes of a
configuration or of a file of people follow it, one line each. Nobody sees a traceback for what can
be expected.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from xmpprelay import __version__
from xmpprelay.cli.audit import audit
from xmpprelay.cli.bench import bench
from xmpprelay.cli.blocks import block, blocks, unblock
from xmpprelay.cli.configuration import config
from xmpprelay.cli.journal import journal
from xmpprelay.cli.people import people
from xmpprelay.cli.primary import primary
from xmpprelay.cli.running import quickstart, run
from xmpprelay.cli.shared import complain
from xmpprelay.cli.status import status
from xmpprelay.cli.upkeep import backup, migrate, restore
from xmpprelay.errors import (
    ConfigError,
    CopiedBack,
    SchemaTooNew,
    StoreCorrupt,
    XmppRelayError,
)

EXIT_INTERRUPTED: Final = 130  # as of a process that SIGINT ended
EXIT_DATA: Final = 65  # EX_DATAERR (sysexits.h): starting again will not help
EXIT_CONFIG: Final = 78  # EX_CONFIG: neither will it here
EXIT_FAILED: Final = 1  # everything else; a command line that makes no sense is click's 2


@click.group(epilog="Example: xmpprelay quickstart")
@click.version_option(__version__, message="%(prog)s %(version)s")
def root() -> None:
    """A microblog that stays up when the service behind it goes down.

    xmpprelay is a component of an XMPP server. `quickstart` shows it on this machine, without any
    set-up; `run` is for a real server.
    """


for command in (
    run,
    quickstart,
    config,
    status,
    journal,
    people,
    primary,
    block,
    unblock,
    blocks,
    audit,
    migrate,
    backup,
    restore,
    bench,
):
    root.add_command(command)


def main() -> None:
    """The console script: runs what the arguments say and exits."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run a command line, and give its exit code. Errors are told on standard error."""
    for stream in (sys.stdout, sys.stderr):
        # What a terminal of another encoding cannot show becomes an escape, not an error.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = root.main(arguments, prog_name="xmpprelay", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "xmpprelay"
        complain(f"{error.format_message()} `{where} --help` tells more.")
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    except XmppRelayError as error:
        complain(error.sentence, getattr(error, "problems", ()))
        return _exit_code(error)
    except BrokenPipeError:
        _drop_output()
        return EXIT_FAILED
    except OSError as error:
        if error.filename is None:
            _drop_output()  # it is the output that failed
        file = f"{error.filename}: " if error.filename else ""
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        complain(f"{file}{reason}: make that possible, then try again.")
        return EXIT_FAILED
    return code if isinstance(code, int) else 0


def _drop_output() -> None:
    """Let what is still to be written go nowhere: Python would complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit_code(error: XmppRelayError) -> int:
    if isinstance(error, ConfigError):
        return EXIT_CONFIG
    if isinstance(error, SchemaTooNew | CopiedBack | StoreCorrupt):
        return EXIT_DATA
    return EXIT_FAILED
