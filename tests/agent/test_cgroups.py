"""Where calls' control groups are made; real ones are tried in tests/system."""

from __future__ import annotations

import os
from pathlib import Path

from harpcaller.agent.cgroups import (
    CallCgroups,
    Cgroup,
    Limits,
    is_ours,
    open_cgroups,
    own_folder,
    settings,
    settle,
    tidy,
)
from tests.house import HouseCase

MOUNTS = """\
31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - tmpfs tmpfs rw
32 31 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
33 31 0:28 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,name=systemd
"""
WHERE = """\
1:name=systemd:/elsewhere
0::/system.slice/harpd.service
"""


class OwnFolderTests(HouseCase):
    def test_found(self) -> None:
        """Our cgroup is where version 2 is mounted, beside others or alone."""
        self.assertEqual(
            Path("/sys/fs/cgroup/unified/system.slice/harpd.service"), own_folder(WHERE, MOUNTS)
        )
        self.assertEqual(Path("/sys/fs/cgroup/unified"), own_folder("0::/\n", MOUNTS))

    def test_only_a_part_is_mounted(self) -> None:
        """In a container the mount may begin further down."""
        mounts = "32 31 0:27 /system.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
        self.assertEqual(Path("/sys/fs/cgroup/harpd.service"), own_folder(WHERE, mounts))
        mounts = "32 31 0:27 /user.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
        self.assertIsNone(own_folder(WHERE, mounts))

    def test_not_to_be_seen(self) -> None:
        """Without version 2, or outside of our namespace, there is none."""
        self.assertIsNone(own_folder("1:name=systemd:/\n", MOUNTS))
        self.assertIsNone(own_folder(WHERE, MOUNTS.replace("cgroup2", "cgroup")))
        self.assertIsNone(own_folder("0::/../other\n", MOUNTS))


class FolderCase(HouseCase):
    """The kernel makes files in a new group; here they are made by hand."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.folder.joinpath("cgroup.procs").touch()
        self.systemd = self.folder / "no systemd"


class OursTests(FolderCase):
    def test_without_systemd(self) -> None:
        """Without systemd, whoever may write may make groups."""
        self.assertTrue(is_ours(self.folder, self.systemd))
        self.assertFalse(is_ours(self.folder / "missing", self.systemd))

    def test_systemd(self) -> None:
        """Where systemd rules, groups are made in what it has delegated."""
        self.systemd.mkdir()
        self.assertFalse(is_ours(self.folder, self.systemd))
        try:
            os.setxattr(self.folder, "user.delegate", b"1")
        except OSError:
            return  # this file system has no such attributes
        self.assertTrue(is_ours(self.folder, self.systemd))


class OpenTests(FolderCase):
    def test_nowhere(self) -> None:
        """No place, no groups."""
        self.assertIsNone(open_cgroups(None, 5, lambda pid: True))
        self.assertIsNone(open_cgroups(self.folder / "missing", 5, lambda pid: True))

    def test_old_kernel(self) -> None:
        """Without cgroup.kill, groups are of no use, and none is left."""
        self.assertIsNone(open_cgroups(self.folder, 5, lambda pid: True))
        self.assertFalse(self.folder.joinpath("harpd-5").exists())

    def test_threaded(self) -> None:
        """Nor can processes be put below a threaded group."""
        ours = self.folder / "harpd-5"
        ours.mkdir()
        ours.joinpath("cgroup.kill").touch()
        ours.joinpath("cgroup.type").write_text("domain invalid\n")
        self.assertIsNone(open_cgroups(self.folder, 5, lambda pid: True))

    def test_usable(self) -> None:
        """Otherwise there is a folder for this template."""
        ours = self.folder / "harpd-5"
        ours.mkdir()
        ours.joinpath("cgroup.kill").touch()
        found = open_cgroups(self.folder, 5, lambda pid: True)
        assert found is not None
        self.assertEqual(ours, found.folder)

    def test_tidy(self) -> None:
        """Groups of templates that are gone are removed; other people's aren't touched."""
        for name in ("harpd-5/call-1", "harpd-6/call-1", "harpd-x/call-1", "other/call-1"):
            self.folder.joinpath(name).mkdir(parents=True)
        tidy(self.folder, lambda pid: pid == 6)
        left = sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        self.assertEqual(["harpd-6", "harpd-x", "other"], left)


class SettlingTests(FolderCase):
    """The agent makes way for limits on its calls."""

    def setUp(self) -> None:
        super().setUp()
        self.folder.joinpath("cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        self.folder.joinpath("cgroup.procs").write_text("17\n")

    def test_moves(self) -> None:
        """Where it is alone, it gets a group of its own."""
        self.assertTrue(settle(self.folder, 17))
        self.assertEqual("17", self.folder.joinpath("agent/cgroup.procs").read_text())

    def test_stays(self) -> None:
        """It stays where it isn't alone, where there's nothing to share out, and where it
        has been put on purpose."""
        self.assertFalse(settle(None, 17))
        self.assertFalse(settle(self.folder / "missing", 17))
        self.assertFalse(settle(self.folder, 18))
        self.folder.joinpath("cgroup.procs").write_text("17\n18\n")
        self.assertFalse(settle(self.folder, 17))
        self.folder.joinpath("cgroup.procs").write_text("17\n")
        self.folder.joinpath("cgroup.controllers").write_text("hugetlb\n")
        self.assertFalse(settle(self.folder, 17))
        self.assertFalse(self.folder.joinpath("agent").exists())
        self.assertFalse(settle(self.folder / "agent", 17))

    def test_not_allowed(self) -> None:
        """Nor does it move where it can't."""
        self.folder.joinpath("agent").touch()
        self.assertFalse(settle(self.folder, 17))

    def test_calls_are_beside_the_agent(self) -> None:
        """Calls' groups are beside the agent's own, and have limits there."""
        ours = self.folder / "harpd-5"
        for folder in (self.folder / "agent", ours):
            folder.mkdir()
        for folder in (self.folder, ours):
            folder.joinpath("cgroup.type").write_text("domain\n")
            folder.joinpath("cgroup.subtree_control").touch()
        ours.joinpath("cgroup.kill").touch()
        found = open_cgroups(self.folder / "agent", 5, lambda pid: True)
        assert found is not None
        self.assertEqual(ours, found.folder)
        self.assertEqual({"+memory"}, found.controllers)
        for folder in (self.folder, ours):
            # The kernel takes them one by one; a file keeps what was written last.
            said = folder.joinpath("cgroup.subtree_control").read_text()
            self.assertEqual("+memory", said)

    def test_root_of_all(self) -> None:
        """What isn't only ours isn't changed."""
        ours = self.folder / "harpd-5"
        ours.mkdir()
        ours.joinpath("cgroup.kill").touch()
        self.folder.joinpath("cgroup.subtree_control").touch()
        self.assertIsNotNone(open_cgroups(self.folder, 5, lambda pid: True))
        self.assertEqual("", self.folder.joinpath("cgroup.subtree_control").read_text())


class GroupTests(FolderCase):
    def test_files(self) -> None:
        """What is asked of the kernel is written to its files."""
        group = Cgroup(str(self.folder))
        group.enter()
        self.assertEqual("0", self.folder.joinpath("cgroup.procs").read_text())
        self.folder.joinpath("cgroup.procs").write_text("17\n18\n")
        self.assertEqual([17, 18], group.members())
        events = self.folder / "cgroup.events"
        events.write_text("populated 1\nfrozen 0\n")
        self.assertFalse(group.is_empty())
        events.write_text("populated 0\nfrozen 0\n")
        self.assertTrue(group.is_empty())
        group.kill()
        self.assertEqual("1", self.folder.joinpath("cgroup.kill").read_text())

    def test_set(self) -> None:
        """A limit is written where the kernel has a file for it."""
        group = Cgroup(str(self.folder))
        group.set("pids.max", b"20")
        self.assertFalse(self.folder.joinpath("pids.max").exists())
        self.folder.joinpath("pids.max").touch()
        group.set("pids.max", b"20")
        self.assertEqual("20", self.folder.joinpath("pids.max").read_text())

    def test_gone(self) -> None:
        """A group that is no more has nobody in it."""
        group = Cgroup(str(self.folder / "missing"))
        self.assertEqual(([], True, True), (group.members(), group.is_empty(), group.remove()))
        group.kill()

    def test_cannot_be_made(self) -> None:
        """Where no more groups can be made, there is none."""
        self.assertIsNone(CallCgroups(self.folder / "missing").new(1))

    def test_let_go(self) -> None:
        """What can't be removed yet is, some time later."""
        groups = CallCgroups(self.folder)
        first, second = groups.new(1), groups.new(2)
        assert first is not None and second is not None
        folders = Path(first.folder), Path(second.folder)
        lives = folders[0] / "somebody"
        lives.touch()
        groups.let_go(first)
        self.assertTrue(folders[0].exists())
        lives.unlink()
        groups.let_go(second)
        self.assertFalse(folders[0].exists() or folders[1].exists())
        self.folder.joinpath("cgroup.procs").unlink()
        groups.close()
        self.assertFalse(self.folder.exists())


class SettingsTests(HouseCase):
    """A call has the limits for which there are controllers."""

    def test_each(self) -> None:
        """Each controller has its files."""
        limits = Limits(20, 5_000_000)
        processes = [("pids.max", b"20")]
        memory = [("memory.max", b"5000000"), ("memory.swap.max", b"0"), ("memory.oom.group", b"1")]
        self.assertEqual([], settings(limits, frozenset({"cpu"})))
        self.assertEqual(processes, settings(limits, frozenset({"pids"})))
        self.assertEqual(memory, settings(limits, frozenset({"memory"})))
        self.assertEqual(processes + memory, settings(limits, frozenset({"pids", "memory"})))

    def test_unlimited(self) -> None:
        """What isn't asked for isn't limited."""
        found = settings(Limits(), frozenset({"pids", "memory"}))
        self.assertEqual([("memory.oom.group", b"1")], found)
