"""What is shipped: built, looked into, installed into an empty environment, and run there."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import attrs
from twisted.trial.unittest import TestCase

from harpcaller import __version__
from harpcaller.testing.installation import HOST, Daemon, Installation

ROOT = Path(__file__).parents[2]
PLUGIN = "twisted/plugins/harpcaller_plugin.py"
#: How long a step may take that needs the network, in seconds.
LONG = 300

#: What a working copy has beside the sources.
_NOT_SOURCES = shutil.ignore_patterns(
    ".*_cache", ".git", ".venv", ".hypothesis", ".coverage*", "*.egg-info", "__pycache__",
    "_build", "_trial_temp*", "build", "dist", "tests.*", "dropin.cache",
)  # fmt: skip


def run(*command: str | Path, folder: Path) -> str:
    """Run a command as in a shell of somebody who has never seen this checkout; give its output.

    Raises:
        AssertionError: It failed; the message has all that it said.
    """
    environ = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL_ENV", "COVERAGE"))
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONG,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


@functools.cache
def workshop() -> Path:
    """Give a folder that is gone when the tests are."""
    folder = Path(tempfile.mkdtemp(prefix="harpcaller-packaging-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def sources() -> Path:
    """Copy the sources, so that building leaves nothing in the checkout."""
    copy = Path(tempfile.mkdtemp(dir=workshop())) / "sources"
    shutil.copytree(ROOT, copy, ignore=_NOT_SOURCES)
    return copy


@attrs.frozen
class Built:
    """The files that are shipped."""

    sdist: Path
    wheel: Path


@functools.cache
def built() -> Built:
    """Build the sdist, and from it the wheel."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir=../dist", folder=sources())
    results = sources().parent / "dist"
    (sdist,) = results.glob("*.tar.gz")
    (wheel,) = results.glob("*.whl")
    return Built(sdist, wheel)


@attrs.frozen
class Environment:
    """A virtual environment, and an empty folder to run its commands in."""

    folder: Path

    def run(self, command: str, *arguments: str | Path) -> str:
        """Run one of its commands."""
        empty = Path(tempfile.mkdtemp(dir=workshop()))
        return run(self.folder / "bin" / command, *arguments, folder=empty)

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        (found,) = self.folder.glob("lib/python3.*/site-packages")
        return found


@functools.cache
def installed() -> Environment:
    """Install the wheel and what it depends on where nothing is."""
    environment = Environment(workshop() / "installed")
    run(sys.executable, "-m", "venv", environment.folder, folder=workshop())
    environment.run("python", "-m", "pip", "install", "--quiet", built().wheel)
    return environment


@functools.cache
def edited() -> Environment:
    """Install a checkout, editable, beside the same dependencies."""
    environment = Environment(workshop() / "edited")
    run(sys.executable, "-m", "venv", "--without-pip", environment.folder, folder=workshop())
    ours = shutil.ignore_patterns("harp", "harpd", "harpcaller*", "dropin.cache")
    shutil.copytree(
        installed().packages,
        environment.packages,
        ignore=ours,
        copy_function=os.link,
        dirs_exist_ok=True,
    )
    python = environment.folder / "bin" / "python"
    options = "--quiet", "--no-deps", "--editable", sources()
    installed().run("python", "-m", "pip", f"--python={python}", "install", *options)
    return environment


def procedures() -> Path:
    """Write a procedures file; give its path."""
    path = workshop() / "procedures.py"
    path.write_text(
        "from harpd.proc import procedure\n\n@procedure\ndef double(x):\n    return 2 * x\n"
    )
    return path


class Installed(Installation):
    """Daemons of another environment than the tests'."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        super().__init__(folder, procedures())
        self.environment = environment

    def start(self, name: str, command: Sequence[str]) -> Daemon:
        """Start a daemon of the environment."""
        program = self.environment.folder / "bin" / command[0]
        return super().start(name, [str(program), *command[1:]])


def tools_work(case: TestCase, links: Path, packages: Path) -> None:
    """See that links to supervision's tools run, with the packages of this folder."""
    case.assertEqual("x\n", run(links / "pgrphack", "echo", "x", folder=workshop()))
    line = "@400000004d52960a0ebe121c test"
    stamped = ["sh", "-c", f"echo {line} | TZ=UTC {str(links / 'tai64nlocal')!r}"]
    case.assertEqual("2011-02-09 13:26:24.247337500 test\n", run(*stamped, folder=workshop()))
    for tool in ("svc", "svstat"):
        case.assertEqual("", run(links / tool, folder=workshop()))
    case.assertIn(repr(str(packages)), (links / "harpsv-tool").read_text())


class BuiltTests(TestCase):
    def test_sdist_is_complete(self) -> None:
        """From the sdist one can build, test, and read all there is to read."""
        with tarfile.open(built().sdist) as archive:
            found = {name.partition("/")[2] for name in archive.getnames()}
        for needed in (
            "LICENSE",
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "Makefile",
            "MANIFEST.in",
            ".ci/run",
            PLUGIN,
            "harpcaller/py.typed",
            "doc/conf.py",
            "doc/_ext/machines.py",
            "doc/man/harp.1.rst",
            "etc/demo/demo.py",
            "etc/harpcaller/harpcaller.toml",
            "etc/harpcaller/harpcaller.service",
            "etc/sv/harpd/log/run",
            "tests/__init__.py",
            "tests/house.py",
            "tests/system/test_packaging.py",
        ):
            self.assertIn(needed, found)
        litter = [name for name in found if "__pycache__" in name or name.endswith("dropin.cache")]
        self.assertEqual([], litter)

    def test_wheel_has_what_runs(self) -> None:
        """The wheel has the packages, the plugin and the licence, and nothing else."""
        with zipfile.ZipFile(built().wheel) as archive:
            found = set(archive.namelist())
        information = f"harpcaller-{__version__}.dist-info"
        for needed in (
            PLUGIN,
            "harpcaller/py.typed",
            "harp/py.typed",
            "harpd/py.typed",
            "harpd/proc.py",
            "harpd/auth/passfile.py",
            f"{information}/licenses/LICENSE",
        ):
            self.assertIn(needed, found)
        # These are Twisted's; ours would hide theirs.
        self.assertNotIn("twisted/__init__.py", found)
        self.assertNotIn("twisted/plugins/__init__.py", found)
        tops = {name.partition("/")[0] for name in found}
        self.assertEqual({"harpcaller", "harp", "harpd", "twisted", information}, tops)


class InstalledTests(TestCase):
    def test_commands_answer(self) -> None:
        """Every command that a user types is there, and knows its version."""
        environment = installed()
        self.assertEqual(f"harp {__version__}\n", environment.run("harp", "--version"))
        self.assertEqual(
            f"harpcallerd {__version__}\n", environment.run("harpcallerd", "--version")
        )
        self.assertIn("usage: harpcallerd", environment.run("harpcallerd", "--help"))
        self.assertIn("--config", environment.run("harpd", "--help"))
        self.assertIn("--delete", environment.run("harpd-passwd", "--help"))
        self.assertEqual(f"harpsv {__version__}\n", environment.run("harpsv", "--version"))

    def test_links_lead_to_it(self) -> None:
        """The names that supervision's tools have elsewhere run what is installed here."""
        links = workshop() / "links"
        installed().run("harpsv", "--link", links)
        tools_work(self, links, installed().packages)

    def test_twistd_knows_both_daemons(self) -> None:
        """The plugins are found, also at the second start, from Twisted's cache of them."""
        environment = installed()
        for _ in range(2):
            listed = environment.run("twistd", "--help")
            self.assertRegex(listed, r"(?m)^ +harpcaller ")
            self.assertRegex(listed, r"(?m)^ +harpd ")
            self.assertNotIn("Traceback", listed)
        for daemon in ("harpcaller", "harpd"):
            said = environment.run("twistd", "-n", daemon, "--version")
            self.assertEqual(f"{daemon} {__version__}\n", said)

    def test_names_that_users_import(self) -> None:
        """Programs and procedures files find what they import, and dependencies fit together."""
        environment = installed()
        environment.run("python", "-c", "import harp, harpd.proc, harpd.auth.passfile")
        environment.run("python", "-m", "pip", "check")

    def test_calls_a_procedure(self) -> None:
        """Agent and dispatcher start, a call goes through, and both stop."""
        environment = installed()
        with tempfile.TemporaryDirectory() as name:
            site = Installed(environment, Path(name))
            try:
                self._call(site)
            finally:
                site.stop()

    def _call(self, site: Installed) -> None:
        agent = site.start_agent()
        dispatcher = site.start_dispatcher()
        where = f"--dispatcher=127.0.0.1:{site.port}"
        said = site.environment.run("harp", "call", where, HOST, "double", "21")
        self.assertEqual("42", said.splitlines()[-1])
        site.environment.run("harpcallerd", f"--socket={site.socket}", "stop", "--timeout=30")
        self.assertEqual(0, dispatcher.process.wait(60))
        self.assertEqual(0, agent.stop())


class EditableTests(TestCase):
    def test_links_lead_to_the_checkout(self) -> None:
        """So that a change to a tool is tried through its link at once."""
        links = workshop() / "links to the checkout"
        edited().run("python", "-m", "harpcaller.supervise.harpsv", "--link", links)
        tools_work(self, links, sources())

    def test_keeps_the_plugins(self) -> None:
        """A developer's installation has both daemons and Twisted's own plugins, from anywhere."""
        environment = edited()
        # The command itself is in the other environment.
        twistd = "from twisted.scripts.twistd import run; run()"
        listed = environment.run("python", "-c", twistd, "--help")
        for daemon in ("harpcaller", "harpd", "web"):
            self.assertRegex(listed, rf"(?m)^ +{daemon} ")
        where = environment.run("python", "-c", "import harpcaller; print(harpcaller.__file__)")
        self.assertEqual(str(sources() / "harpcaller" / "__init__.py"), where.strip())
