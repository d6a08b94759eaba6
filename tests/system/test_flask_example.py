"""The web application in etc/flask, with a dispatcher and an agent behind it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import harp
from harpcaller.testing.installation import HOST, Daemon, Installation
from harpcaller.wire.values import decode
from tests.system.untraced import untraced

EXAMPLE = Path(__file__).parents[2] / "etc" / "flask" / "app.py"
NOBODY = "8ec71d6b-28d1-4ce2-aa23-f3ea7887beda"

PROCEDURES = """
import time
from harpd.proc import Result, streaming_procedure

@streaming_procedure
def backup(database):
    yield {"percent": 0}
    if database == "orders":
        raise OSError("the disk is full")
    if database == "stock":
        time.sleep(600)
    yield {"percent": 100}
    yield Result(f"{database} is saved")
"""


class FlaskCase(SynchronousTestCase):
    """Has the application, as `flask run` would load it, and its test client."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        procedures = self.folder / "procedures.py"
        procedures.write_text(PROCEDURES)
        self.world = Installation(self.folder, procedures)
        self.world.environ = untraced(self.world.environ)
        self.addCleanup(self.world.stop)
        self.world.start_agent()
        self.dispatcher: Daemon = self.world.start_dispatcher()
        self.app = self.load(HARPCALLER=f"127.0.0.1:{self.world.port}", BACKUP_HOST=HOST)
        self.web = self.app.app.test_client()

    def load(self, **environ: str) -> ModuleType:
        """Load the application's file."""
        spec = importlib.util.spec_from_file_location("flask_example", EXAMPLE)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        for name, value in environ.items():
            self.addCleanup(os.environ.pop, name, None)
            os.environ[name] = value
        spec.loader.exec_module(module)
        return module

    def start(self, database: str) -> Any:
        """Have a backup begin; give what the browser is told."""
        answer = self.web.post("/backups", data={"database": database})
        self.assertEqual(201, answer.status_code, answer.text)
        self.assertEqual(answer.json["job"], answer.headers["Location"])
        return answer.json

    def messages(self, address: str, last: str | None = None) -> list[str]:
        """Give what an event source gets on one connection."""
        answer = self.web.get(address, headers={"Last-Event-ID": last} if last else {})
        self.assertEqual("text/event-stream", answer.mimetype)
        retry, *messages, rest = answer.text.split("\n\n")
        self.assertEqual(("retry: 1000", ""), (retry, rest))
        return [str(message) for message in messages]

    def end(self, address: str) -> Any:
        """Wait for a backup's end; give what is told of it."""
        *_, end = self.messages(address)
        event, _, data = end.partition("\ndata: ")
        self.assertEqual("event: end", event)
        return decode(data.encode())


class FlaskTests(FlaskCase):
    def test_backup(self) -> None:
        """A backup begins, is followed to its end, and is asked for afterwards."""
        urls = self.start("customers")
        expected = [
            'id: 0\ndata: {"percent": 0}',
            'id: 1\ndata: {"percent": 100}',
            'event: end\ndata: {"state": "done", "result": "customers is saved"}',
        ]
        self.assertEqual(expected, self.messages(urls["events"]))
        self.assertEqual(expected[1:], self.messages(urls["events"], last="0"))
        self.assertEqual(expected[2:], self.messages(urls["events"], last="1"))
        self.assertEqual(expected, self.messages(urls["events"], last="nonsense"))
        done = {"state": "done", "result": "customers is saved"}
        self.assertEqual(done, self.web.get(urls["job"]).json)
        self.assertEqual({"cancelled": False}, self.web.delete(urls["job"]).json)

    def test_other_endings(self) -> None:
        """A failure, an error and a cancelled backup are told apart."""
        urls = self.start("orders")
        self.assertEqual({"state": "failed", "why": "the disk is full"}, self.end(urls["events"]))
        urls = self.start("stock")
        self.assertEqual({"state": "running"}, self.web.get(urls["job"]).json)
        self.assertEqual({"cancelled": True}, self.web.delete(urls["job"]).json)
        self.assertEqual({"state": "cancelled"}, self.end(urls["events"]))
        self.app.__dict__["HOST"] = "nowhere"
        error = self.end(self.start("stock")["events"])
        self.assertEqual("error", error["state"])
        self.assertIn("unknown_host", error["why"])

    def test_silence(self) -> None:
        """When nothing new comes, the browser is let go and comes again where it was."""
        self.app.__dict__["rpc"] = harp.HarpCaller("127.0.0.1", self.world.port, read_timeout=1)
        urls = self.start("stock")
        self.assertEqual(['id: 0\ndata: {"percent": 0}'], self.messages(urls["events"]))
        self.assertEqual([], self.messages(urls["events"], last="0"))
        self.web.delete(urls["job"])

    def test_bad_requests(self) -> None:
        """What there isn't is not found; nothing from a browser gets to a host unseen."""
        for database in ("; rm -rf /", ""):
            answer = self.web.post("/backups", data={"database": database})
            self.assertEqual(400, answer.status_code)
        self.assertEqual(400, self.web.post("/backups").status_code)
        for address in (f"/backups/{NOBODY}", f"/backups/{NOBODY}/events", "/backups/1"):
            self.assertEqual(404, self.web.get(address).status_code, address)
        self.assertEqual(404, self.web.delete(f"/backups/{NOBODY}").status_code)

    def test_dispatcher_is_down(self) -> None:
        """Then the application says so, and says nothing of its insides."""
        urls = self.start("customers")
        self.end(urls["events"])
        self.dispatcher.kill()
        for answer in (
            self.web.post("/backups", data={"database": "stock"}),
            self.web.get(urls["job"]),
        ):
            self.assertEqual(503, answer.status_code)
            self.assertEqual({"error": "calls can't be made just now"}, answer.json)
        # An event source that got an error would never come again.
        answer = self.web.get(urls["events"])
        self.assertEqual((200, "retry: 5000\n\n"), (answer.status_code, answer.text))

    def test_page(self) -> None:
        """The page offers the databases that there are."""
        page = self.web.get("/").text
        self.assertIn("<option>customers</option><option>orders</option>", page)
        self.assertIn("new EventSource(", page)
