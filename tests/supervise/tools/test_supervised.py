"""A service between its machine and the world: what fails, what is written down, what is told."""

from __future__ import annotations

import errno
import os
import resource
import signal

from harpcaller.supervise.machine.life import State
from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.servicedir.folder import Folder, Unusable
from harpcaller.supervise.tools.supervised import FORK_RETRY, REWRITE
from tests.supervise.descriptors import copy_of
from tests.supervise.tools.fakes import FakeWorld

FAILED = Ending(1, None)


class RefusalTests(FakeWorld):
    """The system hasn't what it takes."""

    def test_no_process_to_be_had(self) -> None:
        """It is told, and tried again; the status says that it is wanted."""
        self.door.refusals = [OSError(errno.EAGAIN, ""), OSError(errno.ENOMEM, ""), MemoryError()]
        self.supervised("it")
        words = "unable to fork for it, sleeping 5 seconds"
        self.assertEqual([f"{words}: temporary failure"], self.warnings)
        seen = self.see("it")
        self.assertEqual((0, ord("u")), (seen.status.pid, seen.status.want))
        assert seen.detail is not None
        self.assertEqual("unable to fork: temporary failure", seen.detail.trouble)
        self.loop.pass_time(2 * FORK_RETRY)
        self.assertEqual([f"{words}: out of memory"] * 2, self.warnings[1:])
        self.loop.pass_time(FORK_RETRY)
        self.assertEqual([b"./run"], self.door.names)
        detail = self.see("it").detail
        assert detail is not None
        self.assertEqual("", detail.trouble)

    def test_up_tries_at_once(self) -> None:
        """Somebody who says "up" doesn't wait for the next try."""
        self.door.refusals = [OSError(errno.EAGAIN, "")]
        self.supervised("it")
        self.command("it", "u")
        self.assertEqual([b"./run"], self.door.names)

    def test_no_descriptor_left(self) -> None:
        """It isn't started as if its wishes didn't exist, but when they can be read."""
        service = self.supervised("it", notification_fd="3")
        self.loop.pass_time(2.0)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            self.loop.dies(service.child.pid, FAILED)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        words = "process cannot open more files"
        self.assertIn(f"unable to fork for it, sleeping 5 seconds: {words}", self.warnings)
        self.assertEqual(1, len(self.door.started))
        self.loop.pass_time(FORK_RETRY)
        self.assertEqual([3], list(self.door.started[1].descriptors))

    def test_no_process_for_finish(self) -> None:
        """The service comes back without its script."""
        service = self.supervised("it", finish="")
        self.door.refusals = [OSError(errno.EAGAIN, "")]
        self.loop.pass_time(2.0)
        self.loop.dies(service.child.pid, FAILED)
        self.assertEqual(["unable to fork for it/finish: temporary failure"], self.warnings)
        self.loop.pass_time(0.0)
        self.assertEqual([b"./run", b"./run"], self.door.names)

    def test_no_process_to_kill(self) -> None:
        """A finish script that couldn't be started isn't killed: that would hit everybody."""
        service = self.supervised("it", finish="")
        self.door.refusals = [OSError(errno.EAGAIN, "")]
        self.loop.dies(service.child.pid, FAILED)
        service.kill()
        self.assertIs(State.FINISHING, service.child.state)

    def test_status_that_cannot_be_written(self) -> None:
        """It is told each time, and the service is kept up."""
        service = self.supervised("it")
        supervise = self.root / "it" / "supervise"
        for file in supervise.iterdir():
            file.unlink()
        supervise.rmdir()
        self.loop.pass_time(2.0)
        self.loop.dies(service.child.pid, FAILED)
        self.assertEqual([b"./run", b"./run"], self.door.names)
        open_ = "unable to open it/supervise/status.new: file does not exist"
        self.assertEqual(1, self.warnings.count(open_))

    def test_status_is_tried_again(self) -> None:
        """A status that couldn't be written is written at the next occasion."""
        service = self.supervised("it")
        status = self.root / "it" / "supervise" / "status"
        status.unlink()
        status.mkdir()
        self.command("it", "p")
        self.assertEqual(1, len(self.warnings))
        status.rmdir()
        self.command("it", "p")
        self.assertTrue(self.see("it").status.is_paused)
        self.assertIs(State.PAUSED, service.child.state)

    def test_status_is_tried_again_by_itself(self) -> None:
        """A death that couldn't be written down doesn't look like life when the disk has room."""
        service = self.supervised("it", down="")
        self.command("it", "o")
        status = self.root / "it" / "supervise" / "status"
        status.rename(status.with_name("elsewhere"))
        status.mkdir()
        self.loop.dies(service.child.pid, FAILED)
        status.rmdir()
        status.with_name("elsewhere").rename(status)
        self.assertNotEqual(0, self.see("it").status.pid)
        self.loop.pass_time(REWRITE)
        self.assertEqual(0, self.see("it").status.pid)
        self.loop.pass_time(2 * REWRITE)
        self.assertEqual(1, len(self.warnings))

    def test_status_is_not_tried_again_after_the_end(self) -> None:
        """Who has let go of the folder writes nothing there any more."""
        self.supervised("it", down="")
        status = self.root / "it" / "supervise" / "status"
        status.unlink()
        status.mkdir()
        self.command("it", "p")
        self.command("it", "x")
        warned = len(self.warnings)
        self.loop.pass_time(2 * REWRITE)
        self.assertEqual(warned, len(self.warnings))
        status.rmdir()

    def test_status_is_not_tried_again_where_it_never_began(self) -> None:
        """The folder was let go of: its descriptor may be another's by now."""
        for name in ("ok", "status"):
            (self.make("it") / "supervise" / name).mkdir(parents=True)
        self.assertRaises(Unusable, self.supervised, "it")
        warned = len(self.warnings)
        self.assertEqual(1, warned)
        self.loop.pass_time(2 * REWRITE)
        self.assertEqual(warned, len(self.warnings))


class ClockTests(FakeWorld):
    def test_set_clock_changes_no_wait(self) -> None:
        """Whether it jumps back a year or ahead, a death waits for its second and no longer."""
        for jump in (-(10**9), 10**9):
            name = f"it{jump}"
            service = self.supervised(name)
            pid = service.child.pid
            self.wall += jump * 10**9
            self.loop.pass_time(0.5)
            self.loop.dies(pid, FAILED)
            self.assertIs(State.BACKOFF, service.child.state)
            self.loop.pass_time(0.5)
            self.assertIs(State.UP, service.child.state)
            self.assertEqual(self.wall, self.see(name).status.changed)


class CommandTests(FakeWorld):
    def test_order_is_kept(self) -> None:
        """Down and up in one breath: it is told to end, and comes back."""
        service = self.supervised("it")
        self.command("it", "du")
        self.assertIs(State.STOPPING, service.child.state)
        self.loop.pass_time(2.0)
        self.loop.dies(service.child.pid, Ending(None, signal.SIGTERM))
        self.assertIs(State.UP, service.child.state)

    def test_nothing_after_exit(self) -> None:
        """What follows an exit of what is down isn't heard any more."""
        self.supervised("it", down="")
        self.command("it", "xu")
        self.assertEqual((["it"], []), (self.ended, self.door.names))
        self.assertEqual({}, self.loop.watched)

    def test_exit_lets_go_of_everything(self) -> None:
        """The folder can be taken by another, and no time is waited for."""
        service = self.supervised("it", timeout_kill="5000")
        self.command("it", "dx")
        self.loop.dies(service.child.pid, Ending(0, None))
        self.assertEqual(["it"], self.ended)
        self.assertTrue(all(timer.is_off for timer in self.loop.timers))
        self.supervised("it")

    def test_stop_gives_a_grace(self) -> None:
        """What doesn't say how long it may take gets what others give it."""
        service = self.supervised("it")
        service.stop(60.0)
        self.assertEqual(60.0, service.child.due)
        other = self.supervised("other", timeout_kill="5000")
        other.stop(60.0)
        self.assertEqual(5.0, other.child.due)

    def test_stop_waits_for_no_finish_script(self) -> None:
        """One that may take any time may not hold up the end of all."""
        service = self.supervised("it", finish="", timeout_finish="0")
        self.loop.dies(service.child.pid, FAILED)
        self.loop.pass_time(1000.0)
        self.assertIs(State.FINISHING, service.child.state)
        service.stop(60.0)
        self.loop.pass_time(59.0)
        self.assertIsNotNone(service.child.due)
        self.loop.pass_time(1.0)
        self.assertIsNone(service.child.due)

    def test_stop_while_it_waits(self) -> None:
        """What isn't up is gone at once."""
        self.door.refusals = [OSError(errno.EAGAIN, "")]
        service = self.supervised("it")
        service.stop(60.0)
        self.assertEqual(["it"], self.ended)
        service.stop(60.0)
        service.leave()
        self.assertEqual(["it"], self.ended)


class SettingsTests(FakeWorld):
    def test_mistakes_are_told_once(self) -> None:
        """Not at each start; and again when they are others."""
        service = self.supervised("it", restart="so\n")
        expected = 'it/restart: found "so", expected always, on-failure or never'
        self.assertEqual([expected], self.warnings)
        self.loop.pass_time(2.0)
        self.loop.dies(service.child.pid, FAILED)
        self.assertEqual([expected], self.warnings)
        self.make("it", restart="no\n")
        self.loop.pass_time(2.0)
        self.loop.dies(service.child.pid, FAILED)
        self.assertEqual(2, len(self.warnings))

    def test_unreadable_setting_is_told(self) -> None:
        """A directory in its place, for example."""
        (self.make("it") / "backoff").mkdir()
        self.supervised("it")
        self.assertEqual(["it/backoff: is a directory"], self.warnings)

    def test_alarm_is_raised_once(self) -> None:
        """With name, ending and reason; it may take a minute."""
        service = self.supervised("it", give_up="1 10", alert="")
        self.loop.dies(service.child.pid, Ending(None, signal.SIGSEGV))
        self.assertIs(State.GIVEN_UP, service.child.state)
        words = "given up; ended: killed by SIGSEGV"
        self.assertEqual([f"it: {words}"], self.warnings)
        alert = self.door.started[-1]
        expected = [b"./alert", b"it", b"SIGSEGV", words.encode()]
        self.assertEqual(expected, list(alert.argv))
        self.loop.dies(2**30 + 2, Ending(0, None))
        self.assertTrue(all(timer.is_off for timer in self.loop.timers))

    def test_finish_is_given_its_arguments(self) -> None:
        """Code or 256, signal or 0, name."""
        service = self.supervised("it", finish="")
        self.loop.dies(service.child.pid, FAILED)
        self.assertEqual([b"./finish", b"1", b"0", b"it"], list(self.door.started[-1].argv))
        self.loop.dies(2**30 + 2, Ending(125, None))
        self.assertIs(State.GIVEN_UP, service.child.state)
        self.assertIn("wants it to stay down", self.warnings[-1])


class NeedsTests(FakeWorld):
    def test_waits_until_all_are_there(self) -> None:
        """It says for whom, looks each second, and starts then."""
        chosen = str(self.root)
        before = os.getcwd()
        os.chdir(chosen)
        self.addCleanup(os.chdir, before)
        service = self.supervised("web", needs__db="", needs__net="")
        detail = self.see("web").detail
        assert detail is not None
        self.assertEqual(("db", "net"), detail.waits_for)
        self.assertEqual([], self.door.names)
        self.supervised("db")
        self.loop.pass_time(1.0)
        detail = self.see("web").detail
        assert detail is not None
        self.assertEqual(("net",), detail.waits_for)
        self.supervised("net")
        service.look_again()
        self.assertIs(State.UP, service.child.state)
        detail = self.see("web").detail
        assert detail is not None
        self.assertEqual((), detail.waits_for)

    def test_ready_is_more_than_up(self) -> None:
        """Of one that tells when it is ready, being up isn't enough; nor is it when it ends."""
        (self.make("web") / "needs").mkdir()
        (self.root / "web" / "needs" / "db").symlink_to("../../db")
        db = self.supervised("db", notification_fd="3")
        web = self.supervised("web")
        self.assertIs(State.STARTING, web.child.state)
        db.ready()
        web.look_again()
        self.assertIs(State.UP, web.child.state)
        self.command("db", "p")
        self.loop.pass_time(2.0)
        self.loop.dies(web.child.pid, FAILED)
        self.assertIs(State.STARTING, web.child.state)
        self.command("db", "cd")
        self.loop.pass_time(1.0)
        self.assertIs(State.STARTING, web.child.state)

    def test_down_ends_the_wait(self) -> None:
        """What isn't wanted any more isn't started when what it needs comes."""
        web = self.supervised("web", needs__db="")
        self.command("web", "d")
        self.loop.pass_time(5.0)
        web.look_again()
        self.assertEqual([], self.door.names)


class FolderTests(FakeWorld):
    def test_second_supervisor_is_refused(self) -> None:
        """Two would start two services."""
        self.supervised("it")
        refused = self.assertRaises(Unusable, self.supervised, "it")
        words = "unable to acquire it/supervise/lock: temporary failure"
        self.assertEqual(words, str(refused))

    def test_next_supervisor(self) -> None:
        """It need not wait for a process that is just starting, and has a copy of the lock."""
        self.supervised("it", down="")
        self.addCleanup(os.close, copy_of(self.root / "it" / "supervise" / "lock"))
        self.command("it", "x")
        self.supervised("it", down="")

    def test_no_room_to_listen(self) -> None:
        """A service whose commands couldn't be heard isn't supervised; its folder is let go of."""
        self.loop.refusals = [OSError(errno.ENOMEM, "")]
        why = "unable to read it/supervise/control: out of memory"
        self.assertEqual(why, str(self.assertRaises(Unusable, self.supervised, "it")))
        self.supervised("it")

    def test_no_folder(self) -> None:
        """It says where it couldn't go."""
        missing = str(self.root / "missing")
        refused = self.assertRaises(Unusable, Folder, missing, "missing")
        self.assertEqual("unable to chdir to missing: file does not exist", str(refused))

    def test_files_in_the_place_of_fifos(self) -> None:
        """Nobody waits on a file of another kind."""
        for name in ("control", "ok"):
            path = self.make(f"with-{name}") / "supervise"
            path.mkdir()
            (path / name).write_text("")
            refused = self.assertRaises(Unusable, self.supervised, f"with-{name}")
            words = f"unable to read with-{name}/supervise/{name}: device not configured"
            self.assertEqual(words, str(refused))

    def test_supervise_where_a_link_leads(self) -> None:
        """A link to what isn't there yet is how to have it on another file system."""
        path = self.make("it")
        (path / "supervise").symlink_to("elsewhere")
        self.supervised("it")
        self.assertEqual(0o700, (path / "elsewhere").stat().st_mode & 0o777)

    def test_down_that_cannot_be_told(self) -> None:
        """A link that leads to itself is neither there nor not."""
        (self.make("it") / "down").symlink_to("down")
        refused = self.assertRaises(Unusable, self.supervised, "it")
        self.assertEqual("unable to stat it/down: symbolic link loop", str(refused))

    def test_modes_are_the_originals(self) -> None:
        """Others can't look until somebody opens it."""
        self.supervised("it")
        path = self.root / "it" / "supervise"
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()}
        self.assertEqual(0o700, path.stat().st_mode & 0o777)
        self.assertEqual((0o600,) * 3, tuple(modes[name] for name in ("lock", "control", "ok")))
        self.assertEqual({"lock", "control", "ok", "status", "detail"}, set(modes))
