"""A directory of services: what comes, what goes, and the pipes to their logs."""

from __future__ import annotations

import os
import resource

from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.tools.tree import KEPT_DESCRIPTORS, Tree
from tests.supervise.tools.fakes import FakeWorld

ENDED = Ending(0, None)


class TreeTests(FakeWorld):
    def setUp(self) -> None:
        super().setUp()
        self.complaints: list[str] = []
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, root)
        self.tree = Tree(root, self.around, self.complaints.append)
        self.addCleanup(self.end)

    def end(self) -> None:
        """Let everything end, so that nothing stays open."""
        if not self.tree.is_stopping:
            self.tree.stop(1.0)
        for _round in range(3):
            for pid in list(self.loop.children):
                self.loop.dies(pid, ENDED)
            self.loop.pass_time(30.0)

    def started(self) -> list[str]:
        """Give the folders' names in which something was started."""
        return [os.fsdecode(program.complaint).split()[-1] for program in self.door.started]

    def test_folders_are_services(self) -> None:
        """Files aren't, nor what begins with a dot; a link that leads nowhere is told."""
        for name in ("one", "two", ".hidden"):
            self.make(name)
        (self.root / "file").write_text("")
        (self.root / "nowhere").symlink_to("missing")
        self.tree.scan()
        self.assertEqual({"one/run", "two/run"}, set(self.started()))
        self.assertEqual(["unable to stat nowhere: file does not exist"], self.warnings)
        self.tree.scan()
        self.assertEqual(2, len(self.door.started))

    def test_many_are_begun_in_turns(self) -> None:
        """Whoever wants something meanwhile is heard; a scan that comes between does no harm."""
        for number in range(50):
            self.make(f"s{number}")
        self.tree.scan()
        begun = len(self.door.started)
        self.assertLess(begun, 50)
        self.tree.scan()
        self.assertEqual(begun, len(self.door.started))
        self.loop.pass_time(0.0)
        self.assertEqual(50, len(self.door.started))
        self.assertEqual(50, len(set(self.started())))

    def test_too_many_are_told(self) -> None:
        """A service that would take the last descriptors has to wait: others couldn't restart."""
        for number in range(20):
            self.make(f"s{number}")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        lowest = os.dup(self.tree.root)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + KEPT_DESCRIPTORS + 20, limits[1]))
        self.tree.scan()
        begun = len(self.door.started)
        self.assertIn(begun, range(1, 20))
        words = "running too many services for the limit of descriptors"
        self.assertEqual(20 - begun, len(self.warnings))
        self.assertTrue(all(line.endswith(words) for line in self.warnings), self.warnings)
        self.loop.pass_time(2.0)
        self.loop.dies(min(self.loop.children), ENDED)
        self.assertEqual(begun + 1, len(self.door.started))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        self.assertFalse(self.tree.has_room())

    def test_a_bug_keeps_none_of_the_others_away(self) -> None:
        """What goes wrong with one service is told, and those after it are begun all the same."""
        for name in ("one", "two", "three"):
            self.make(name)
        self.door.refusals = [RuntimeError("a bug")]
        self.tree.scan()
        self.assertEqual(2, len(self.door.started))
        self.assertIn("RuntimeError: a bug", self.loop.bugs.pop())

    def test_end_comes_before_the_rest(self) -> None:
        """What hasn't been begun when all is to end isn't begun any more."""
        for number in range(50):
            self.make(f"s{number}")
        self.tree.scan()
        begun = len(self.door.started)
        self.tree.stop(5.0)
        self.loop.pass_time(0.0)
        self.assertEqual(begun, len(self.door.started))

    def test_two_names_are_one_service(self) -> None:
        """Identity is the directory's, not the name's; renaming changes nothing."""
        self.make("one")
        (self.root / "other").symlink_to("one")
        self.tree.scan()
        self.assertEqual(1, len(self.door.started))
        (self.root / "one").rename(self.root / "renamed")
        self.tree.scan()
        self.assertEqual(1, len(self.door.started))

    def test_log_reads_what_the_service_writes(self) -> None:
        """They are joined by a pipe that outlives them."""
        self.make("web", log__run="")
        self.tree.scan()
        main, log = self.door.started
        self.assertEqual((["web/run", "web/log/run"]), self.started())
        self.assertEqual(([1], [0]), (list(main.descriptors), list(log.descriptors)))
        os.write(main.descriptors[1], b"hello")
        self.assertEqual(b"hello", os.read(log.descriptors[0], 10))

    def test_log_that_comes_later(self) -> None:
        """It is supervised at the next scan; the service writes to it from its next start on."""
        self.make("web")
        self.tree.scan()
        self.assertEqual({}, self.door.started[0].descriptors)
        self.make("web", log__run="")
        self.tree.scan()
        self.assertEqual(["web/run", "web/log/run"], self.started())
        self.loop.pass_time(2.0)
        self.loop.dies(2**30 + 1, ENDED)
        self.assertEqual([1], list(self.door.started[2].descriptors))

    def test_log_that_is_a_file(self) -> None:
        """It is told, as in the original, and the service runs."""
        self.make("web", log="")
        self.tree.scan()
        self.assertEqual(["unable to chdir to web/log: not a directory"], self.complaints)
        self.assertEqual(["web/run"], self.started())

    def test_log_that_cannot_be_looked_for(self) -> None:
        """A service isn't started before it is known where its output is to go."""
        self.make("it")
        (self.root / "it" / "log").symlink_to("log")
        self.tree.scan()
        self.assertEqual(["unable to stat it/log: symbolic link loop"], self.warnings)
        self.assertEqual([], self.started())
        (self.root / "it" / "log").unlink()
        self.tree.scan()
        self.assertEqual(["it/run"], self.started())
        # One that runs isn't bothered.
        (self.root / "it" / "log").symlink_to("log")
        self.tree.scan()
        self.assertEqual(["it/run"], self.started())

    def test_removed_service_runs_on(self) -> None:
        """Until somebody ends it; put back, it begins afresh."""
        elsewhere = self.root / ".elsewhere"
        self.make("web", log__run="").rename(elsewhere)
        link = self.root / "web"
        link.symlink_to(elsewhere)
        self.tree.scan()
        link.unlink()
        self.tree.scan()
        self.command(".elsewhere", "x")
        self.loop.dies(2**30 + 1, ENDED)
        self.tree.scan()
        self.command(".elsewhere/log", "x")
        self.loop.dies(2**30 + 2, ENDED)
        self.tree.scan()
        self.assertEqual(2, len(self.door.started))
        link.symlink_to(elsewhere)
        self.tree.scan()
        self.assertEqual(4, len(self.door.started))

    def test_exited_service_is_taken_again(self) -> None:
        """Its directory is still there, so it is supervised at the next scan."""
        self.make("web", down="")
        self.tree.scan()
        self.command("web", "x")
        self.assertEqual({}, self.loop.watched)
        self.tree.scan()
        self.assertEqual(1, len(self.loop.watched))

    def test_renamed_service_is_taken_again(self) -> None:
        """It is the same service under its new name, also when its supervision begins anew."""
        self.make("it")
        self.tree.scan()
        (self.root / "it").rename(self.root / "other")
        self.tree.scan()
        self.assertEqual(["it/run"], self.started())
        self.command("other", "dx")
        self.loop.dies(min(self.loop.children), ENDED)
        self.loop.pass_time(2.0)
        self.tree.scan()
        self.assertEqual(["it/run", "other/run"], self.started())
        self.assertEqual([], self.complaints)

    def test_others_wait_for_what_changes(self) -> None:
        """What needs another starts as soon as that is up, without waiting for its look."""
        self.make("a-web", needs__db="")
        self.tree.scan()
        self.assertEqual([], self.started())
        self.make("db")
        self.tree.scan()
        self.loop.pass_time(0.0)
        self.assertEqual(["db/run", "a-web/run"], self.started())

    def test_end_is_services_first(self) -> None:
        """Logs end when they have read everything, and nothing is scanned any more."""
        self.make("web", log__run="")
        self.tree.scan()
        _main, log = self.door.started
        reading = os.dup(log.descriptors[0])
        self.tree.stop(5.0)
        self.assertFalse(self.loop.stopped)
        self.loop.dies(2**30 + 1, ENDED)
        os.set_blocking(reading, False)
        self.assertEqual(b"", os.read(reading, 1), "the log is at the end of its input")
        os.close(reading)
        self.tree.scan()
        self.assertFalse(self.loop.stopped)
        self.loop.dies(2**30 + 2, ENDED)
        self.assertTrue(self.loop.stopped)
        self.assertEqual(2, len(self.door.started))

    def test_end_with_nothing(self) -> None:
        """An empty directory is kept until the end is asked for, and ends at once."""
        self.tree.scan()
        self.assertFalse(self.loop.stopped)
        self.tree.stop(5.0)
        self.assertTrue(self.loop.stopped)

    def test_end_of_a_log_alone(self) -> None:
        """A service whose own supervision has ended doesn't keep its log from ending; one that
        goes on reading is told."""
        self.make("web", down="", log__run="")
        self.tree.scan()
        self.command("web", "x")
        self.tree.stop(5.0)
        self.assertFalse(self.loop.stopped)
        self.loop.pass_time(11.0)
        self.tree.kill()
        self.loop.dies(2**30 + 1, ENDED)
        self.assertTrue(self.loop.stopped)
