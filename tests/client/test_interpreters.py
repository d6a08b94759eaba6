"""The library on every Python that it promises, with nothing but the standard library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import harpcaller
from tests.client.fake_dispatcher import FakeDispatcher, Jobs

SOURCE = str(Path(harpcaller.__file__).parents[1])

_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import harp
from harpcaller.client.command import main
rpc = harp.HarpCaller("127.0.0.1", int(sys.argv[2]), read_timeout=10)
assert rpc.host("web01", queue={"q": 1}).echo(1, "a").get() == [1, "a"]
assert isinstance(rpc.web01.fail().result(wait=True), harp.RemoteException)
assert rpc.web01.count(2).follow(since=0).all() == [{"i": 0}, {"i": 1}]
assert rpc.web01.echo().submit_time() == 1455282411
harp.HarpServer("localhost", "user", "password")
environ = {"HARPCALLER": "127.0.0.1:" + sys.argv[2]}
assert main(["call", "web01", "--timeout", "5", "echo", "1", "--", "-x"], environ=environ) == 0
assert main(["call", "web01", "fail"], environ=environ) == 1
assert "asyncio" not in sys.modules, "only who asks for harp.aio pays for it"
import asyncio
import harp.aio
async def on_a_loop():
    async with harp.aio.HarpCaller("127.0.0.1", int(sys.argv[2]), read_timeout=10) as rpc:
        job = await rpc.host("web01", queue={"q": 1}).echo(1, "a")
        assert await job.get() == [1, "a"]
        job = await rpc.web01.count(2)
        assert [record async for record in job.follow(since=0)] == [{"i": 0}, {"i": 1}]
        job = await rpc.web01.hang()
        try:
            await asyncio.wait_for(job.get(), 0.1)
        except asyncio.TimeoutError:
            pass
        else:
            raise AssertionError("it hangs")
        assert await job.cancel()
        assert await job.result() is harp.aio.CALL_CANCELLED
        echoes = await asyncio.gather(*(rpc.web01.echo(i) for i in range(9)))
        assert [await job.get() for job in echoes] == [[i] for i in range(9)]
        harp.aio.HarpServer("localhost", "user", "password")
        dead = harp.aio.HarpCaller("localhost", 1)
        try:
            await dead.web01.echo()
        except harp.aio.CommunicationError:
            pass
for _ in range(2):
    asyncio.run(on_a_loop(), debug=True)
import harpcaller.wire.agent, harpcaller.wire.conversation
foreign = {name.partition(".")[0] for name in sys.modules}
if sys.version_info >= (3, 10):
    foreign -= {*sys.stdlib_module_names, "harp", "harpcaller", "__main__"}
    assert not foreign, foreign
"""


def interpreters() -> dict[str, str]:
    """Find Python 3.9 and newer on this machine: version to path, one of each."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = [str(path) for path in sorted(pyenv.glob("3.*/bin/python3"))]
    candidates += [
        path for minor in range(9, 20) if (path := shutil.which(f"python3.{minor}")) is not None
    ]
    found: dict[str, str] = {}
    for path in candidates:
        asked = subprocess.run(
            [path, "-c", "import sys; print('%d.%02d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0 and asked.stdout.strip() >= "3.09":
            found.setdefault(asked.stdout.strip(), path)
    return found


class InterpretersTests(SynchronousTestCase):
    """A whole program, run by each interpreter that is found here."""

    def setUp(self) -> None:
        self.dispatcher = FakeDispatcher(Jobs())
        self.addCleanup(self.dispatcher.stop)

    def run_program(self, python: str, *options: str) -> None:
        """Run the program, which must end well and complain of nothing."""
        words = [python, "-W", "error", *options, "-c", _PROGRAM, SOURCE, str(self.dispatcher.port)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(0, done.returncode, f"{python}: {done.stderr}")
        self.assertNotIn("Warning", done.stderr)
        self.assertNotIn("ignored", done.stderr)

    def test_every_python_found(self) -> None:
        """Each runs it isolated, without anything that is installed."""
        found = interpreters()
        if not found:
            raise SkipTest("no Python from 3.9 on is in PATH or under pyenv")
        for python in found.values():
            self.run_program(python, "-I", "-S")

    def test_nothing_foreign_is_imported(self) -> None:
        """Also where other packages are installed, the library takes none of them."""
        self.run_program(sys.executable, "-S")
