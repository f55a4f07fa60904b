"""tools/setup and tools/install-packages, run for real on a machine made of stubs.

Their PATH holds a shell, the plain file tools, and stubs that write down how they were called. What
a machine has and lacks are flags, files in its `has/`: `has/prosody` means that it is installed.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PLAIN_TOOLS = (
    "sh", "cat", "chmod", "cksum", "comm", "cut", "dirname", "grep", "ln", "mkdir", "mktemp", "rm",
    "sed", "sort", "tail", "touch", "true",
)  # fmt: skip

# An interpreter good enough for tools/setup; `-m venv` makes an environment with such a one inside.
PYTHON = """
case $* in
    -V) echo "Python 3.10.12" ;;
    *ensurepip*) [ -e "$M/has/ensurepip" ] ;;
    *sys.prefix*) cat "$(dirname "$0")/../identity" 2>/dev/null ;;
    *sys.version_info*) [ ! -e "$M/has/old-python" ] ;;
    *"-m venv"*)
        echo "venv $3" >>"$M/calls"
        mkdir -p "$3/bin" && cat "$0" >"$3/bin/python" && chmod +x "$3/bin/python"
        [ ! -e "$M/has/trouble" ] || exit 1
        echo "$PWD/$3 (3, 11)" >"$3/identity" ;;
    *"-m pip"*) echo "pip $*" >>"$M/calls"; [ ! -e "$M/has/trouble" ] ;;
esac
"""

APT_GET = """
echo "apt-get $* [$DEBIAN_FRONTEND]" >>"$M/calls"
case $* in *update*) exit "$([ -e "$M/has/trouble" ] && echo 100 || echo 0)" ;; esac
read -r answer && echo "apt-get was answered: $answer" >>"$M/calls"
cat "$M/policy-rc.d" >"$M/policy-seen" 2>/dev/null
[ -x "$M/policy-rc.d" ] && echo executable >>"$M/policy-seen"
[ -e "$M/has/trouble" ] && { echo "E: no room on the disk"; exit 100; }
[ -e "$M/has/impatience" ] && kill -TERM "$PPID"
touch "$M/has/ensurepip"
for name in ejabberd dnsmasq-base lua-unbound sendxmpp tmux profanity postgresql dbus-daemon; do
    touch "$M/has/$name"
done
for name in libervia-cli chromium; do
    case " $* " in *" $name "*) touch "$M/has/$name" ;; esac
done
ln -sf /bin/true "$M/bin/prosody"
cat "$M/brings" >>"$M/units" 2>/dev/null
true
"""

SYSTEMCTL = """
case $1 in
    list-unit-files)
        case $* in *--state=enabled*) grep " enabled" "$M/units" ;; *) cat "$M/units" ;; esac ;;
    *) echo "systemctl $*" >>"$M/calls" ;;
esac
"""

SUDO = """
echo "sudo $*" >>"$M/calls"
[ -e "$M/has/password-needed" ] && exit 1
shift
HAS_ROOT=yes exec "$@"
"""

ID = '[ -e "$M/has/root" ] || [ -n "${HAS_ROOT-}" ] && echo 0 || echo 1000'


# dpkg-query -W -f=FORMAT PACKAGE
DPKG_QUERY = '[ ! -e "$M/has/$3" ] || echo installed'

# apt-cache show PACKAGE
APT_CACHE = '[ -e "$M/has/lists" ] || exit 100'

OF_THE_TESTS = (
    *("prosody", "ejabberd", "dnsmasq-base", "lua-unbound"),
    *("sendxmpp", "tmux", "profanity", "postgresql", "dbus-daemon"),
)


class Machine:
    """A machine of stubs, with a checkout on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkout = folder / "checkout"
        self.policy = folder / "policy-rc.d"
        (folder / "has").mkdir()
        (folder / "bin").mkdir()
        (folder / "units").touch()
        for name in PLAIN_TOOLS:
            path = shutil.which(name)
            assert path is not None
            (folder / "bin" / name).symlink_to(path)
        for name, text in (
            ("python3", PYTHON),
            ("apt-get", APT_GET),
            ("apt-cache", APT_CACHE),
            ("dpkg-query", DPKG_QUERY),
            ("id", ID),
        ):
            self.stub(name, text)
        shutil.copytree(REPOSITORY / "tools", self.checkout / "tools")
        requirements = Path("tests/interop/requirements-aioxmpp.txt")
        (self.checkout / requirements.parent).mkdir(parents=True)
        shutil.copy(REPOSITORY / requirements, self.checkout / requirements)
        (self.checkout / "pyproject.toml").write_text("[project]\n")

    def stub(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\nM='{self.folder}'\n{text}\n")
        path.chmod(0o755)

    def has(self, *names: str) -> None:
        for name in names:
            (self.folder / "has" / name).touch()
            if name == "prosody":
                (self.folder / "bin" / name).symlink_to("/bin/true")
            elif name == "sudo":
                self.stub(name, SUDO)
            elif name == "systemctl":
                self.stub(name, SYSTEMCTL)

    def lacks(self, *names: str) -> None:
        for name in names:
            (self.folder / "has" / name).unlink(missing_ok=True)
            (self.folder / "bin" / name).unlink(missing_ok=True)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the checkout, with something on its stdin that nobody may read."""
        return subprocess.run(
            command,
            cwd=self.checkout,
            env={
                "PATH": str(self.folder / "bin"),
                "POLICY_RC_D": str(self.policy),
                "OS_RELEASE": str(self.folder / "os-release"),
                "TMPDIR": str(self.folder),
                **environment,
            },
            input="yes\n",
            capture_output=True,
            text=True,
            check=False,
        )

    def set_up(self, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("tools/setup", what, **environment)

    def calls(self, name: str = "") -> list[str]:
        """How the stubs have been called since the last time one asked."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if line.startswith(name)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One with Python and apt-get, without root, sudo, python3-venv, Prosody and systemd."""
    return Machine(tmp_path)


def test_a_machine_with_everything_gets_the_environments_only(machine: Machine) -> None:
    machine.has("ensurepip", *OF_THE_TESTS)
    assert machine.set_up("test").returncode == 0
    calls = machine.calls()
    assert [call for call in calls if not call.startswith("pip")] == [
        "venv .venv",
        "venv .venv-aioxmpp",
    ]
    assert any(call.endswith(" -e .[test]") for call in calls)
    assert any(call.endswith(" --no-deps aioxmpp==0.13.3") for call in calls)


@pytest.mark.parametrize("what", ["run", "check", "test"])
def test_a_second_run_calls_nothing_and_is_silent(machine: Machine, what: str) -> None:
    machine.has("ensurepip", *OF_THE_TESTS)
    assert machine.set_up(what).returncode == 0
    assert machine.calls()
    machine.lacks("apt-get", "ensurepip")
    machine.has("old-python")  # outside the environment, which has its own by now
    again = machine.set_up(what)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert machine.calls() == []


def test_root_gets_everything_missing_in_one_installation(machine: Machine) -> None:
    machine.has("root")
    assert machine.set_up("test").returncode == 0
    update, install = machine.calls("apt-get")
    assert update.endswith("update [noninteractive]")
    assert install.endswith(
        " install -y --no-install-recommends python3-venv"
        " prosody ejabberd dnsmasq-base lua-unbound sendxmpp tmux profanity postgresql dbus-daemon"
        " [noninteractive]"
    )


@pytest.mark.parametrize("known_by", ["lists", "os-release"])
def test_a_package_that_not_every_system_has_is_installed_where_it_is_to_be_had(
    machine: Machine, known_by: str
) -> None:
    """Debian has it, and says so only where its lists of packages are there."""
    machine.has("root", "ensurepip", *OF_THE_TESTS)
    if known_by == "lists":
        machine.has("lists")
    else:
        (machine.folder / "os-release").write_text("NAME=Debian\nID=debian\n")
    assert machine.set_up("check").returncode == machine.set_up("run").returncode == 0
    assert machine.calls("apt-get") == []
    assert machine.set_up("test").returncode == 0
    _update, install = machine.calls("apt-get")
    assert install.endswith(" --no-install-recommends libervia-cli chromium [noninteractive]")
    again = machine.set_up("test")
    assert (again.returncode, again.stdout, machine.calls()) == (0, "", [])


def test_running_needs_no_packages_of_the_tests_and_checking_none_at_all(machine: Machine) -> None:
    machine.has("ensurepip")
    assert machine.set_up("check").returncode == 0
    assert machine.calls("venv") == ["venv .venv"]
    machine.has("prosody")
    assert machine.set_up("run").returncode == 0
    assert machine.calls("venv") == []


def test_sudo_without_a_password_installs(machine: Machine) -> None:
    machine.has("sudo")
    assert machine.set_up("run").returncode == 0
    calls = machine.calls()
    assert calls[:2] == ["sudo -n true", "sudo -n sh tools/install-packages python3-venv prosody"]
    assert any("install -y --no-install-recommends python3-venv prosody" in call for call in calls)


@pytest.mark.parametrize(
    ("tools", "command"),
    [
        (("sudo", "password-needed"), "sudo sh {tools}/install-packages python3-venv prosody"),
        ((), "su -c 'sh {tools}/install-packages python3-venv prosody'"),
    ],
)
def test_without_root_the_one_command_is_printed_and_nothing_done(
    machine: Machine, tools: tuple[str, ...], command: str
) -> None:
    machine.has(*tools)
    result = machine.set_up("run")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.strip() == command.format(tools=machine.checkout / "tools")
    assert machine.calls("apt-get") == []
    assert not (machine.checkout / ".venv").exists()


def test_the_command_printed_is_one_that_works(machine: Machine) -> None:
    command = machine.set_up("run").stderr.splitlines()[-1].strip()
    as_root = command.removeprefix("su -c '").removesuffix("'")
    assert machine.run(*as_root.split()).returncode == 0
    assert machine.set_up("run").returncode == 0
    assert (machine.checkout / ".venv").exists()


def test_without_apt_the_packages_are_named(machine: Machine) -> None:
    machine.has("root", "ensurepip")
    machine.lacks("apt-get")
    result = machine.set_up("run")
    assert result.returncode == 1
    assert "Missing here: prosody." in result.stderr
    assert "apt-get install -y --no-install-recommends prosody" in result.stderr


def test_services_are_kept_from_starting_during_the_installation_only(machine: Machine) -> None:
    machine.has("root")
    assert machine.set_up("run").returncode == 0
    seen = (machine.folder / "policy-seen").read_text()
    assert seen == "#!/bin/sh\nexit 101\nexecutable\n"
    assert not machine.policy.exists()


def test_a_policy_of_the_machine_is_left_as_it_is(machine: Machine) -> None:
    machine.has("root")
    machine.policy.write_text("the machine's own")
    assert machine.set_up("run").returncode == 0
    assert machine.policy.read_text() == "the machine's own"
    assert (machine.folder / "policy-seen").read_text() == "the machine's own"


def test_an_installation_that_fails_is_told_and_leaves_no_policy(machine: Machine) -> None:
    machine.has("root", "trouble")
    result = machine.set_up("run")
    assert result.returncode == 1
    assert "E: no room on the disk" in result.stderr
    assert "could not install python3-venv prosody" in result.stderr
    assert "still not found" not in result.stderr
    assert not machine.policy.exists()
    assert list(machine.folder.glob("tmp*")) == []


def test_an_installation_that_is_ended_leaves_no_policy(machine: Machine) -> None:
    machine.has("root", "impatience")
    result = machine.set_up("run")
    assert result.returncode == 143
    assert (machine.folder / "policy-seen").exists()
    assert not machine.policy.exists()
    assert list(machine.folder.glob("tmp*")) == []


def test_only_a_service_that_came_with_it_is_disabled(machine: Machine) -> None:
    machine.has("root", "systemctl")
    (machine.folder / "units").write_text(
        "cron.service enabled enabled\nejabberd.service enabled enabled\n"
    )
    (machine.folder / "brings").write_text(
        "dbus.service static -\nprosody.service enabled enabled\n"
    )
    assert machine.set_up("run").returncode == 0
    assert machine.calls("systemctl") == ["systemctl disable prosody.service"]


def test_an_interpreter_still_without_pip_is_told(machine: Machine) -> None:
    machine.has("root")
    machine.stub("apt-get", "true")
    result = machine.set_up("run")
    assert result.returncode == 1
    assert "still not found: python3-venv prosody." in result.stderr


@pytest.mark.parametrize("what", ["old-python", "no-python"])
def test_an_old_or_absent_python_is_told_before_anything_is_done(
    machine: Machine, what: str
) -> None:
    machine.has("root", what)
    if what == "no-python":
        machine.lacks("python3")
    result = machine.set_up("run")
    assert result.returncode == 1
    said = "python3 is Python 3.10.12" if what == "old-python" else "no python3 here"
    assert "Python 3.11 or later" in result.stderr
    assert said in result.stderr
    assert machine.calls() == []


def test_the_interpreter_can_be_named(machine: Machine) -> None:
    machine.has("ensurepip", "prosody")
    machine.stub("python3.99", PYTHON)
    machine.lacks("python3")
    assert machine.set_up("run", PYTHON="python3.99").returncode == 0
    assert machine.calls("venv") == ["venv .venv"]


def test_a_half_made_environment_is_made_again(machine: Machine) -> None:
    machine.has("ensurepip", "prosody", "trouble")
    assert machine.set_up("run").returncode == 1
    assert (machine.checkout / ".venv" / "bin").exists()
    (machine.checkout / ".venv" / "half").touch()
    machine.lacks("trouble")
    result = machine.set_up("run")
    assert result.returncode == 0
    assert "Removing .venv" in result.stdout
    assert result.stderr == ""
    assert not (machine.checkout / ".venv" / "half").exists()


def test_an_environment_that_was_moved_or_has_lost_its_python_is_made_again(
    machine: Machine,
) -> None:
    machine.has("ensurepip", "prosody")
    assert machine.set_up("run").returncode == 0
    (machine.checkout / ".venv" / "identity").write_text("/elsewhere/.venv (3, 11)\n")
    assert "Removing .venv" in machine.set_up("run").stdout
    (machine.checkout / ".venv" / "bin" / "python").unlink()
    assert "Removing .venv" in machine.set_up("run").stdout


def test_what_pip_could_not_finish_is_tried_again(machine: Machine) -> None:
    machine.has("ensurepip", "prosody")
    assert machine.set_up("check").returncode == 0
    (machine.checkout / "pyproject.toml").write_text("[project]\nname = 'changed'\n")
    machine.has("trouble")
    result = machine.set_up("check")
    assert result.returncode == 1
    assert "pip could not" in result.stderr
    machine.lacks("trouble")
    machine.calls()
    assert machine.set_up("check").returncode == 0
    assert len(machine.calls("pip")) == 1


def test_a_changed_pyproject_is_installed_again(machine: Machine) -> None:
    machine.has("ensurepip", *OF_THE_TESTS)
    assert machine.set_up("test").returncode == 0
    machine.calls()
    (machine.checkout / "pyproject.toml").touch()  # newer, and the same
    assert machine.set_up("test").returncode == 0
    assert machine.calls() == []
    (machine.checkout / "pyproject.toml").write_text("[project]\nname = 'changed'\n")
    assert machine.set_up("run").returncode == 0
    (call,) = machine.calls()
    assert call.endswith(" -e .[test]"), "the environment of the tests stays one"


def test_running_alone_installs_no_test_tools(machine: Machine) -> None:
    machine.has("ensurepip", "prosody")
    assert machine.set_up("run").returncode == 0
    assert [call.endswith(" -e .") for call in machine.calls("pip")] == [True]
    assert machine.set_up("check").returncode == 0
    assert [call.endswith(" -e .[test]") for call in machine.calls("pip")] == [True]


def test_an_activated_environment_is_not_built_upon(machine: Machine) -> None:
    machine.has("ensurepip", "prosody")
    active = machine.checkout / ".venv"
    (active / "bin").mkdir(parents=True)
    (active / "bin" / "python3").symlink_to("/bin/false")
    path = f"{active}/bin:{machine.folder}/bin"
    assert machine.set_up("run", VIRTUAL_ENV=str(active), PATH=path).returncode == 0


def test_nothing_is_read_from_stdin(machine: Machine) -> None:
    machine.has("root", "systemctl")
    assert machine.set_up("test").returncode == 0
    assert machine.calls("apt-get was answered") == []


@pytest.mark.parametrize("arguments", [(), ("everything",)])
def test_an_unknown_purpose_is_told(machine: Machine, arguments: tuple[str, ...]) -> None:
    result = machine.run("tools/setup", *arguments)
    assert result.returncode == 1
    assert "tools/setup run" in result.stderr
    assert machine.calls() == []


def test_it_works_from_any_folder(machine: Machine) -> None:
    machine.has("ensurepip", "prosody")
    elsewhere = os.path.relpath(machine.checkout / "tools" / "setup", "/")
    result = subprocess.run(
        ["sh", elsewhere, "run"],
        cwd="/",
        env={"PATH": str(machine.folder / "bin"), "CDPATH": "/tmp:/"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert (machine.checkout / ".venv").exists()
