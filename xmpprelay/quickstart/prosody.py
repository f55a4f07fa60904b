"""A private Prosody on the loopback, for the quickstart and for the tests.

`Prosody` runs the machine's `prosody` program with a configuration, ports and data of its own. The
system's own Prosody, if one runs, is neither asked nor disturbed. Nothing leaves the machine:
federation is off, and only 127.0.0.1 is listened on; hence neither TLS nor a certificate.

    async with Prosody("example.test") as server:
        alice = await server.add_user("alice", "her password")
        …  # clients to server.host, server.c2s_port; the component to server.component_port

How it runs. Prosody refuses to be root, so root starts it as the user `prosody` of the Debian
package, and that user owns the folder with its data; anyone else starts it as himself. It has a
session of its own, so that a Ctrl-C in the terminal reaches the relay only, and it never outlives
the process that started it: the kernel kills it when its parent dies, however the parent dies.

How it is known to be ready. Not by its log and not by waiting: the client port must answer an
opened stream with its features, and the component port one with a stream header.
"""

import asyncio
import contextlib
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xmpprelay.errors import ConfigError, StreamError

POLL_S = 0.02
STOP_WITHIN_S = 5.0

# What a client may expect of a server. Prosody adds presence, message, iq and offline by itself.
MODULES = (
    "roster", "saslauth", "disco", "carbons", "pep", "smacks", "blocklist", "vcard4",
    "vcard_legacy", "version", "time", "ping", "register",
)  # fmt: skip


class Prosody:
    """A private Prosody with one domain for people and one component beside it.

    `domain` is where accounts live, `component_domain` the relay's (`relay.` before the domain if
    None). `data_dir` becomes Prosody's own folder, is made if missing and is kept; None means a new
    one under the temporary directory, removed at the end unless `keep` is set. `mam` turns on
    message archives. `extra_config` goes into the global part of the configuration as it is.

    Ports, secret and data stay the same through `stop`, `kill` and `start`. As a context manager it
    starts, and at the end stops and tidies up. Errors are StreamError when it cannot be had, and
    ConfigError when `data_dir` is of no use to it.
    """

    host = "127.0.0.1"
    ready_within_s = 15.0  # it takes 0.1 s; a machine busy with tests may need several

    def __init__(
        self,
        domain: str = "example.test",
        *,
        component_domain: str | None = None,
        data_dir: Path | None = None,
        mam: bool = False,
        extra_config: str = "",
    ) -> None:
        self.domain = domain
        self.component_domain = component_domain or f"relay.{domain}"
        self.component_secret = secrets.token_hex(16)
        self.c2s_port = free_port()
        self.component_port = free_port()
        self.keep = False
        self._given_folder = data_dir
        self._folder: Path | None = None
        self._modules = (*MODULES, "mam") if mam else MODULES
        self._extra_config = extra_config
        self._runner = _Runner.of_this_process()
        self._process: subprocess.Popen[bytes] | None = None
        self._at_exit: weakref.finalize[..., Any] | None = None

    @property
    def folder(self) -> Path:
        """The folder with configuration, data and log, made when it is first asked for.

        ConfigError if it cannot be made, or Prosody cannot use it.
        """
        if self._folder is None:
            self._folder = self._prepare_folder()
        return self._folder

    @property
    def _config_path(self) -> Path:
        return self.folder / "prosody.cfg.lua"

    @property
    def running(self) -> bool:
        """Whether the process is there; a paused one is."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running server; StreamError if it does not run."""
        if self._process is None or not self.running:
            raise StreamError("The private Prosody does not run: start it first.")
        return self._process.pid

    async def __aenter__(self) -> Self:
        """Starts it."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops it, and removes what it has written, but for a given folder or with `keep`."""
        try:
            await self.stop()
        finally:
            self._tidy()

    async def start(self) -> None:
        """Returns when clients and the component can connect. StreamError with the log's last
        lines if that does not come about; nothing is then left running. A cancellation neither.
        """
        if self.running:
            return
        try:
            self._claim_ports()
            self._spawn(_program("prosody"))
            await self._until_ready()
        except BaseException:
            await self.kill()
            self._tidy()
            raise

    async def stop(self) -> None:
        """Ends it as a system would: a polite signal, and after 5 s the other one."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a paused one could not obey
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, STOP_WITHIN_S)
        await self.kill()

    async def kill(self) -> None:
        """Ends it as a crash would (SIGKILL), and returns when it is gone."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
            self._process = None
        if self._at_exit is not None:
            self._at_exit.detach()
            self._at_exit = None

    async def restart(self) -> None:
        """Stops it and starts it again, with the same ports and data."""
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """Lets it hang: connections stay open, and nothing is answered until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends a `pause`."""
        self._signal(signal.SIGCONT)

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

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log, and of what it printed before it had one."""
        if self._folder is None:
            return ""
        texts = []
        for name in ("console.log", "prosody.log"):
            with contextlib.suppress(FileNotFoundError):
                texts += (self._folder / name).read_text(errors="replace").splitlines()
        return "\n".join(texts[-lines:])

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

    def _claim_ports(self) -> None:
        """StreamError if another program has one by now: it could be taken for ours."""
        for port in (self.c2s_port, self.component_port):
            if not _is_free(port):
                raise StreamError(
                    f"Another program uses port {port}, which the private Prosody needs: end it, "
                    "or start anew to get other ports."
                )

    def _spawn(self, program: str) -> None:
        self._write_config()
        command = [program, "-F", "--config", str(self._config_path)]
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            # The kernel's own promise that a server never outlives its parent, a killed one too.
            # The "parent" is the thread that forks, so this is never done in a worker thread.
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        with (self.folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(  # noqa: S603  # found by name, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=self.folder,
                start_new_session=True,
                **self._runner.subprocess_options(),
            )
        self._at_exit = weakref.finalize(self, _end, self._process)

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(self.ready_within_s):
                while not await self._answers():
                    if not self.running:
                        raise StreamError(f"The private Prosody ended at once:\n{self.log_tail()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StreamError(
                f"The private Prosody was not ready within {self.ready_within_s:.0f} s; the end of "
                f"its log:\n{self.log_tail()}"
            ) from None

    async def _answers(self) -> bool:
        """Whether both ports do what a ready server's do."""
        clients = "jabber:client", "</stream:features>", self.domain, self.c2s_port
        component = "jabber:component:accept", " id=", self.component_domain, self.component_port
        for namespace, answer, to, port in (clients, component):
            if not await _stream_answers(self.host, port, namespace, to, answer):
                return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _prepare_folder(self) -> Path:
        """Makes the folder where it is missing, and sees to it that Prosody can use it."""
        if self._given_folder is None:
            folder = Path(tempfile.mkdtemp(prefix="xmpprelay-prosody-"))
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
        if self._folder is not None and self._given_folder is None and not self.keep:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


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


def free_port(preferred: int | None = None) -> int:
    """A TCP port of 127.0.0.1 that nobody uses now, below the range of outgoing connections.

    It is `preferred` if nobody uses that. A port of the outgoing range could be lost while a server
    restarts, to any program that connects somewhere, and to the very client that tries to
    reconnect: TCP lets a socket meet itself.
    """
    if preferred is not None and _is_free(preferred):
        return preferred
    for _attempt in range(200):
        port = random.randrange(12_000, 32_000)  # the kernel's range begins at 32768
        if _is_free(port):
            return port
    raise StreamError("No free port on 127.0.0.1 between 12000 and 32000: end what uses them.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what remains of closed connections is no hindrance, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _stream_answers(host: str, port: int, namespace: str, to: str, answer: str) -> bool:
    """Opens a stream, and says whether what comes back holds `answer`."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    opening = (
        f"<?xml version='1.0'?><stream:stream xmlns='{namespace}' to='{to}' version='1.0' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    try:
        writer.write(opening.encode())
        await reader.readuntil(answer.encode())
        writer.write(b"</stream:stream>")
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    finally:
        writer.close()
    return True


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


def _end(process: subprocess.Popen[bytes]) -> None:
    """For an interpreter that exits, or a server that was forgotten, without `stop`."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
