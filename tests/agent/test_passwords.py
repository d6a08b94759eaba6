"""The users' file and how it is changed."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.agent.auth.passwords import (
    BadUser,
    change,
    check_name,
    names,
    with_user,
    without_user,
)
from tests.house import HouseCase

lines = st.text("ab:# x", max_size=6)
users = st.text("abx", min_size=1, max_size=2)


class TextTests(HouseCase):
    def test_new_user(self) -> None:
        """A new user comes at the end, on a line of his own."""
        self.assertEqual("me:HASH\n", with_user("", "me", "HASH"))
        self.assertEqual("# c\nme:HASH\n", with_user("# c\n", "me", "HASH"))
        self.assertEqual("you:x\nme:HASH\n", with_user("you:x", "me", "HASH"))

    def test_known_user(self) -> None:
        """A known user's line is replaced where it stands, and stands there once."""
        text = "# me:old\nyou:x\n me:old \n\nme:older\nbroken\n"
        self.assertEqual("# me:old\nyou:x\nme:HASH\n\nbroken\n", with_user(text, "me", "HASH"))

    def test_delete(self) -> None:
        """All his lines go, the others stay."""
        self.assertEqual("# me:x\nyou:x\n", without_user("# me:x\nme:y\nyou:x\nme:z\n", "me"))
        with self.assertRaises(KeyError):
            _ = without_user("# me:x\n", "me")

    @given(st.lists(lines), users)
    def test_there_and_back(self, before: list[str], user: str) -> None:
        """Whatever the file holds, only that user's lines are touched."""
        text = "\n".join(before)
        fresh = with_user(text, user, "HASH")
        self.assertEqual(1, names(fresh).count(user))
        self.assertEqual(set(names(text)) | {user}, set(names(fresh)))
        self.assertEqual(set(names(text)) - {user}, set(names(without_user(fresh, user))))

    def test_names(self) -> None:
        """What the file couldn't hold is refused."""
        for user in ("me", "me.too@example.net", "caf\u00e9", "two words"):
            check_name(user)
        for user in ("", "#me", "a:b", " me", "me\t", "a\nb", "a\x1bb"):
            with self.subTest(user=user), self.assertRaises(BadUser):
                check_name(user)


class FileTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "users"

    def mode(self) -> int:
        return self.path.stat().st_mode & 0o7777

    def test_new_file(self) -> None:
        """Nobody but its owner can read it, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        change(self.path, lambda text: f"[{text}]")
        self.assertEqual(("[]", 0o600), (self.path.read_text(), self.mode()))

    def test_mode_stays(self) -> None:
        """The group may read it if it could; others never."""
        for before, after in ((0o600, 0o600), (0o640, 0o640), (0o666, 0o640), (0o400, 0o400)):
            self.path.write_text("x")
            self.path.chmod(before)
            change(self.path, lambda text: text + "y")
            self.assertEqual(after, self.mode())
            self.assertEqual("xy", self.path.read_text())
            self.path.unlink()

    def test_owner_stays(self) -> None:
        """The agent's user can read it after root has changed it."""
        if os.getuid() != 0:
            self.skipTest("only root can give files away")
        self.path.write_text("x")
        os.chown(self.path, 12345, 54321)
        change(self.path, lambda text: text + "y")
        found = self.path.stat()
        self.assertEqual((12345, 54321), (found.st_uid, found.st_gid))

    def test_link(self) -> None:
        """A link stays one; the file that it leads to is changed."""
        real = self.folder / "real"
        real.write_text("x")
        self.path.symlink_to("real")
        change(self.path, lambda text: text + "y")
        self.assertTrue(self.path.is_symlink())
        self.assertEqual("xy", real.read_text())

    def test_failure_leaves_nothing(self) -> None:
        """What goes wrong leaves the old file, and no other beside it."""
        self.path.write_text("x")
        with self.assertRaises(UnicodeEncodeError):
            change(self.path, lambda text: "\ud800")
        self.patch(os, "replace", self.refuse)
        with self.assertRaises(PermissionError):
            change(self.path, lambda text: "y")
        self.assertEqual(["users"], os.listdir(self.folder))
        self.assertEqual("x", self.path.read_text())

    def refuse(self, *paths: object) -> None:
        raise PermissionError

    def test_many_at_once(self) -> None:
        """Nobody's change is lost when several come together."""
        threads = [
            Thread(target=change, args=(self.path, lambda text: text + "x")) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual("x" * 8, self.path.read_text())
