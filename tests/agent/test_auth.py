"""Who may call: hashes, the users' file, users in the configuration."""

from __future__ import annotations

from pathlib import Path

from passlib.hash import (  # type: ignore[import-untyped]  # libpass has no types
    sha256_crypt,
    sha512_crypt,
)

import harpd.auth.inconfig
import harpd.auth.passfile
from harpcaller.agent.auth import inconfig, passfile
from harpcaller.agent.auth.hashes import NOBODY, BadHash, Crypt, Plain, Secret, Users
from harpcaller.config.problems import ConfigurationError
from tests.house import HouseCase

SHA256 = sha256_crypt.using(rounds=1000).hash("caf\u00e9")
SHA512 = sha512_crypt.using(rounds=1000).hash("caf\u00e9")


class HashTests(HouseCase):
    def test_matches(self) -> None:
        """The right password matches, whatever the kind; others don't."""
        for secret in (Crypt(SHA256), Crypt(SHA512), Plain("caf\u00e9")):
            with self.subTest(secret=secret):
                self.assertTrue(secret.matches("caf\u00e9"))
                for wrong in ("", "cafe", "caf\u00e9 ", "x\0y", "x" * 5000):
                    self.assertFalse(secret.matches(wrong))

    def test_known_answer(self) -> None:
        """Hashes of crypt(3) itself match, as glibc makes them."""
        self.assertTrue(
            Crypt("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5").matches(
                "Hello world!"
            )
        )
        self.assertTrue(
            Crypt(
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJu"
                "esI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
            ).matches("Hello world!")
        )

    def test_unusable_hashes(self) -> None:
        """What can't be used is named, and the hash itself isn't shown."""
        for hashed, named in (
            ("$y$j9T$abcdef$ghijkl", "yescrypt"),
            ("$2b$12$abcdefghi", "bcrypt"),
            ("$1$abcdef$abcdefgh", "MD5"),
            ("$9$abcdef$abcdefgh", "not a known kind"),
            ("abcdefgh", "not a known kind"),
            ("", "not a known kind"),
            ("$6$", "broken|without its end"),
            ("$6$abcdef", "without its end"),
            ("$6$abcdef$abc", "broken"),
            ("$6$rounds=20000000$abcdef$" + "." * 86, "20000000 rounds"),
        ):
            with self.subTest(hashed=hashed):
                with self.assertRaisesRegex(BadHash, named) as caught:
                    Crypt(hashed)
                self.assertNotIn("abcdef", str(caught.exception))

    def test_nobody_is_a_hash(self) -> None:
        """What is compared with when there are no users takes as long as a user's."""
        self.assertFalse(Crypt(NOBODY).matches("x"))


class CountingSecret:
    def __init__(self) -> None:
        self.asked = 0

    def matches(self, password: str) -> bool:
        self.asked += 1
        return password == "right"


class UsersTests(HouseCase):
    def test_unknown_user_costs_as_much(self) -> None:
        """For an unknown user, some user's password is compared, and the answer is no."""
        secret = CountingSecret()
        secrets: dict[str, Secret] = {"me": secret}
        users = Users(secrets)
        self.assertEqual(1, len(users))
        self.assertTrue(users.authenticate("me", "right"))
        self.assertFalse(users.authenticate("me", "wrong"))
        self.assertFalse(users.authenticate("you", "right"))
        self.assertEqual(3, secret.asked)

    def test_nobody(self) -> None:
        """Without any users nobody passes."""
        self.assertFalse(Users({}).authenticate("me", "x"))


class PassFileTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())

    def test_users(self) -> None:
        """A line is a user; empty lines and comments are passed over."""
        self.path.write_text(f"# users\n\nme:{SHA512}\n  you:{SHA256}  \n")
        users = harpd.auth.passfile.create({"file": str(self.path)})
        self.assertEqual(2, len(users))
        self.assertTrue(users.authenticate("me", "caf\u00e9"))
        self.assertFalse(users.authenticate("# users", "caf\u00e9"))

    def test_every_mistake_with_its_line(self) -> None:
        """All mistakes are told at once, by line, without a hash."""
        self.path.write_text(f"me:{SHA512}\nnobody\n:x\nme:{SHA512}\nyou:$y$abcdef$x\n")
        with self.assertRaises(ConfigurationError) as caught:
            passfile.create({"file": str(self.path)})
        self.assertEqual([2, 3, 4, 5], [problem.line for problem in caught.exception.problems])
        self.assertIn("user 'you': yescrypt ($y$) isn't supported", str(caught.exception))
        self.assertNotIn("abcdef", str(caught.exception))
        self.assertNotIn(SHA512, str(caught.exception))

    def test_file(self) -> None:
        """A file that can't be read, or isn't named, is told."""
        with self.assertRaisesRegex(ConfigurationError, "No such file"):
            passfile.create({"file": str(self.path)})
        self.path.write_bytes(b"caf\xe9:x")
        with self.assertRaisesRegex(ConfigurationError, "not UTF-8"):
            passfile.create({"file": str(self.path)})
        for config in ({}, {"file": 5}, {"file": ""}):
            with self.assertRaisesRegex(ValueError, "authentication.file: expected"):
                passfile.create(config)
        with self.assertRaisesRegex(ValueError, "authentication.users: unknown"):
            passfile.create({"file": "x", "users": {}})


class InConfigTests(HouseCase):
    def test_users(self) -> None:
        """Passwords may be plain or hashed."""
        config = {"users": {"me": "plain:a:b", "you": f"crypt:{SHA256}"}}
        users = harpd.auth.inconfig.create(config)
        self.assertTrue(users.authenticate("me", "a:b"))
        self.assertTrue(users.authenticate("you", "caf\u00e9"))
        self.assertFalse(users.authenticate("me", "caf\u00e9"))

    def test_mistakes(self) -> None:
        """All mistakes are told at once, without a password."""
        users = {"a": "hunter2", "b": 5, "c": "plain:", "d": "crypt:hunter2", "e": "other:hunter2"}
        with self.assertRaises(ValueError) as caught:
            inconfig.create({"users": users, "file": "x"})
        lines = str(caught.exception).splitlines()
        self.assertEqual(6, len(lines))
        self.assertNotIn("hunter2", str(caught.exception))
        for config in ({}, {"users": ["me"]}):
            with self.assertRaisesRegex(ValueError, "authentication.users: expected"):
                inconfig.create(config)
