"""A private Prosody on the loopback, for the quickstart and for the tests.

`Prosody` is a `PrivateServer` (see private_server.py) that runs the machine's `prosody` program.
Nothing leaves the machine: federation is off, and only 127.0.0.1 is listened on; hence neither TLS
nor a certificate.

As whom it runs. Prosody refuses to be root, so root starts it as the user `prosody` of the Debian
package, and that user owns the folder with its data; anyone else starts it as himself.
"""

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmpprelay.errors import ConfigError, StreamError
from xmpprelay.quickstart.private_server import PrivateServer

# What a client may expect of a server. Prosody adds presence, message, iq and offline by itself.
MODULES = (
    "roster", "saslauth", "disco", "carbons", "pep", "smacks", "blocklist", "vcard4",
    "vcard_legacy", "version", "time", "ping", "register",
)  # fmt: skip


class Prosody(PrivateServer):
    """A private Prosody with one domain for people and one component beside it.

    Beyond what every `PrivateServer` has: `data_dir` becomes Prosody's own folder, is made if
    missing and is kept; None means a new one under the temporary directory, removed at the end
    unless `keep` is set. `mam` turns on message archives. `extra_config` goes into the global part
    of the configuration as it is.

    Errors are StreamError when it cannot be had, and ConfigError when `data_dir` is of no use to
    it.
    """

    name = "Prosody"
    ready_within_s = 15.0  # it takes 0.1 s; a machine busy with tests may need several
    stop_within_s = 5.0
    logs = ("console.log", "prosody.log")

    def __init__(
        self,
        domain: str = "example.test",
        *,
        component_domain: str | None = None,
        data_dir: Path | None = None,
        mam: bool = False,
        extra_config: str = "",
    ) -> None:
        super().__init__(domain, component_domain)
        self._given_folder = data_dir
        self._modules = (*MODULES, "mam") if mam else MODULES
        self._extra_config = extra_config
        self._runner = _Runner.of_this_process()

    @property
    def _config_path(self) -> Path:
        return self.folder / "prosody.cfg.lua"

    async def add_user(self, name: str, password: str) -> str:
        """Makes an account, or gives an existing one this password. Returns its bare JID.

        It may run or not. StreamError with Prosody's own words if it refuses the name.
        """
        self._write_config()  # here, not in the thread: two of them would make two folders
        register = ("register", name, self.domain)
        result = await asyncio.to_thread(self._prosodyctl, *register, stdin=f"{password}\n" * 2)
        if result.returncode != 0:
            said = (result.stdout.strip().splitlines() or ["nothing"])[-1]
            raise StreamError(
                f"Prosody made no account {name}@{self.domain}; it says: {said.strip()}"
            )
        return f"{name}@{self.domain}"

    def _prosodyctl(self, *arguments: str, stdin: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of `prosodyctl`. What it would ask a person, it reads from `stdin`."""
        return subprocess.run(  # noqa: S603  # found by name, no shell
            [_program("prosodyctl"), "--config", str(self._config_path), *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=30,  # a guess; it takes 0.05 s
            cwd=self.folder,
            start_new_session=True,  # no terminal to ask at
            **self._runner.subprocess_options(),
        )

    def _command(self) -> Sequence[str]:
        return (_program("prosody"), "-F", "--config", str(self._config_path))

    def _options(self) -> Mapping[str, Any]:
        return self._runner.subprocess_options()

    def _make_folder(self) -> Path:
        """Makes the folder where it is missing, and sees to it that Prosody can use it."""
        if self._given_folder is None:
            folder = super()._make_folder()
            self._runner.own(folder)
            way_out = "set TMPDIR to a folder that everybody can enter, such as /tmp"
        else:
            folder = self._given_folder.absolute()
            way_out = "choose another --data-dir, such as a new folder under /tmp"
        try:
            # Asked before it is made, so that nothing is left of a vain attempt.
            problem = self._runner.why_useless(folder)
            if problem is None and not folder.exists():
                folder.mkdir(parents=True, mode=0o700)
                self._runner.own(folder)
                problem = self._runner.why_useless(folder)
        except OSError as error:
            problem = f"The folder {folder} cannot be made ({error.strerror})"
        if problem is not None:
            if self._given_folder is None:
                folder.rmdir()
            raise ConfigError(f"{problem}: {way_out}.")
        return folder

    def _write_config(self) -> None:
        """Writes the configuration, readable for Prosody and its starter only."""
        draft = self.folder / "prosody.cfg.lua.new"
        for name in ("data", "certs"):
            if not (self.folder / name).exists():
                (self.folder / name).mkdir(mode=0o700)
                self._runner.own(self.folder / name)
        draft.touch(mode=0o600)
        self._runner.own(draft)
        draft.write_text(self._config(), encoding="utf-8")
        draft.replace(self._config_path)  # in one step: another prosodyctl may be reading it

    def _config(self) -> str:
        modules = ", ".join(f'"{name}"' for name in self._modules)
        return f"""\
-- A private server on the loopback, written anew by xmpprelay whenever it starts.
data_path = {_lua(self.folder / "data")}
certificates = {_lua(self.folder / "certs")} -- none: nothing leaves this machine
pidfile = {_lua(self.folder / "prosody.pid")}
log = {{ info = {_lua(self.folder / "prosody.log")} }}
interfaces = {{ "{self.host}" }}
c2s_ports = {{ {self.c2s_port} }}
component_interfaces = {{ "{self.host}" }}
component_ports = {{ {self.component_port} }}
modules_enabled = {{ {modules} }}
modules_disabled = {{ "s2s" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
allow_registration = false
authentication = "internal_plain"
-- Worth more than twice the speed at 1,000 connections.
gc = {{ mode = "incremental", threshold = 250, speed = 500 }}
-- Else TCP holds a small stanza back until the one before it is acknowledged: 40 ms, now and then.
network_settings = {{ nagle = false }}
{self._extra_config}

VirtualHost {_lua(self.domain)}

Component {_lua(self.component_domain)}
    component_secret = {_lua(self.component_secret)}
"""

    def _tidy(self) -> None:
        if self._given_folder is None:
            super()._tidy()


@dataclass(frozen=True, slots=True)
class _Runner:
    """The user that Prosody runs as."""

    name: str
    uid: int | None  # None: whoever runs this process, with all his groups
    gid: int | None

    @classmethod
    def of_this_process(cls) -> "_Runner":
        if os.geteuid() != 0:
            return cls(_user_name(os.geteuid()), None, None)
        try:
            user = pwd.getpwnam("prosody")
        except KeyError:
            # Its package, which makes the user, is not here: to be told when the program is missed.
            return cls("prosody", None, None)
        return cls(user.pw_name, user.pw_uid, user.pw_gid)

    def subprocess_options(self) -> dict[str, Any]:
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": ()}

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def why_useless(self, folder: Path) -> str | None:
        """The reason why he cannot work in the folder, were it made; None if he can."""
        for step in (*reversed(folder.parents), folder):
            if step.exists() and not self._can("-x", step):
                return f"The user {self.name}, as whom Prosody runs, may not enter {step}"
        if folder.exists() and not self._can("-w", folder):
            return f"The user {self.name}, as whom Prosody runs, may not write to {folder}"
        return None

    def _can(self, what: str, path: Path) -> bool:
        # Asked of the system in that user's place: owners, modes and ACLs are its business.
        command = ["test", what, str(path)]
        done = subprocess.run(command, check=False, **self.subprocess_options())  # noqa: S603
        return done.returncode == 0


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"{uid}"  # containers run programs as users who have no name


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise StreamError(
            f"There is no {name} on this machine; type: "
            "sudo apt-get install --no-install-recommends prosody"
        )
    return path


def _lua(text: str | Path) -> str:
    """A string as Lua source."""
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
