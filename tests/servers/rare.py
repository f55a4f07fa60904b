"""Programs that not every system has packages of: where it has, they have to be there.

Debian has all of them, and `tools/setup test` brings them: a test that is skipped there would be a
test that nobody runs. Ubuntu has no Libervia, and its Chromium is no Debian package.
"""

import platform
import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where one of these programs is missing, but never on Debian."""
    missing = [program for program in programs if shutil.which(program) is None]
    has_all = platform.freedesktop_os_release().get("ID") == "debian"
    return pytest.mark.skipif(
        bool(missing) and not has_all, reason=f"this system has no package of {missing}"
    )
