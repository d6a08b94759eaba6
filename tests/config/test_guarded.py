"""Files that strangers could change, or read though they are secret, are refused."""

from __future__ import annotations

import os
from pathlib import Path

from harpcaller.config.guarded import Guarded, judged
from tests.house import HouseCase


class GuardedTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        self.path.touch()

    def problems(self, mode: int, secret: bool) -> list[str]:
        self.path.chmod(mode)
        prefix = f"{self.path}: "
        found = judged([Guarded(self.path, secret)], os.getuid())
        self.assertEqual((), found.warnings)
        return [str(problem).removeprefix(prefix) for problem in found.problems]

    def test_modes(self) -> None:
        """Others may read what isn't secret, and never write."""
        for mode in (0o400, 0o600, 0o640, 0o660, 0o750):
            self.assertEqual([], self.problems(mode, True))
        for mode in (0o644, 0o755, 0o444):
            self.assertEqual([], self.problems(mode, False))
        self.assertEqual(
            ["everybody may change it (mode 0666); try chmod o-w"], self.problems(0o666, False)
        )
        self.assertEqual(
            ["everybody may read it, and it is secret (mode 0644); try chmod o-r"],
            self.problems(0o644, True),
        )
        self.assertEqual(2, len(self.problems(0o666, True)))

    def test_folder(self) -> None:
        """Where everybody may write, files are exchanged; not where only owners may rename."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.path = folder / "file"
        self.path.touch()
        for mode in (0o700, 0o775, 0o1777):
            folder.chmod(mode)
            self.assertEqual([], self.problems(0o600, True))
        folder.chmod(0o777)
        self.assertEqual(
            [
                "everybody may put another in its place, by its folder (mode 0777);"
                f" try chmod o-w {folder}"
            ],
            self.problems(0o600, True),
        )

    def test_link(self) -> None:
        """The folder counts that a link is in, and the one that it leads to."""
        for open_one in ("here", "there"):
            root = Path(self.mktemp()).absolute()
            for name in ("here", "there"):
                (root / name).mkdir(parents=True)
            (root / "there" / "file").touch(0o600)
            self.path = root / "here" / "link"
            self.path.symlink_to(root / "there" / "file")
            self.assertEqual([], self.problems(0o600, True))
            (root / open_one).chmod(0o777)
            (problem,) = self.problems(0o600, True)
            self.assertIn(f"try chmod o-w {root / open_one}", problem)

    def test_owner(self) -> None:
        """A file of another user is only warned of: it may be meant so."""
        owner = self.path.stat().st_uid
        found = judged([Guarded(self.path)], owner + 1)
        if owner == 0:
            self.assertEqual((), found.warnings)
        else:
            self.assertIn(f"it belongs to user {owner}", str(found.warnings[0]))
        self.assertEqual((), found.problems)

    def test_not_root_and_not_us(self) -> None:
        """Root's files are good for everybody; those of a third are warned of, also to root."""
        if os.getuid() != 0:
            self.skipTest("only root can give files away")
        os.chown(self.path, 12345, -1)
        for uid, expected in ((0, "root"), (77, "root or user 77")):
            (warning,) = judged([Guarded(self.path)], uid).warnings
            self.assertEqual(
                f"{self.path}: it belongs to user 12345, who can change it; expected {expected}",
                str(warning),
            )
        self.assertEqual((), judged([Guarded(self.path)], 12345).warnings)

    def test_what_is_not_there(self) -> None:
        """Somebody else tells that a file is missing."""
        found = judged([Guarded(None), Guarded(Path("/nonexistent"), True)], 0)
        self.assertEqual(((), ()), (found.problems, found.warnings))
