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
from harpcaller.agent.auth.hashes import (
    METHODS,
    NOBODY,
    BadHash,
    Plain,
    Secret,
    Users,
    make_hash,
    read_hash,
)
from harpcaller.agent.auth.libcrypt import LibCrypt, load, system_libcrypt
from harpcaller.config.problems import ConfigurationError
from tests.house import HouseCase

SHA256 = sha256_crypt.using(rounds=1000).hash("caf\u00e9")
SHA512 = sha512_crypt.using(rounds=1000).hash("caf\u00e9")


LIBCRYPT = system_libcrypt()
YESCRYPT = "$y$j75$g/iPClZ2prz/0qgYo6As.1$" + "x" * 43


class StrangeCrypt(LibCrypt):
    """One that can't do what is asked of it."""

    def __init__(self) -> None:
        self.setting: str | None = None

    def knows(self, setting: str) -> bool:
        return False

    def hashed(self, password: str, setting: str) -> str | None:
        return None

    def new_setting(self, prefix: str) -> str:
        if self.setting is None:
            raise ValueError("no such hashes")
        return self.setting


class YescryptTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        if LIBCRYPT is None:
            self.skipTest("the system has no libxcrypt")

    def test_new(self) -> None:
        """A new hash matches its password and no other, however long or odd."""
        secret = read_hash(make_hash("yescrypt", "caf\u00e9"))
        self.assertTrue(secret.matches("caf\u00e9"))
        for wrong in ("", "cafe", "caf\u00e9\0", "x" * 600):
            self.assertFalse(secret.matches(wrong))

    def test_known_answer(self) -> None:
        """A hash that passwd(1) made on Debian matches."""
        hashed = "$y$j9T$eMmacQSaWGI5vAguq0ThS/$w76Uts6uNDLUzBX8DE5frRtrRuex769XXgfwKu38rFA"
        self.assertTrue(read_hash(hashed).matches("x"))
        self.assertFalse(read_hash(hashed).matches("y"))

    def test_too_long(self) -> None:
        """What would be cut off is refused."""
        with self.assertRaisesRegex(BadHash, "at most 511 bytes"):
            _ = make_hash("yescrypt", "\u00e9" * 256)


class LibCryptTests(HouseCase):
    def test_is_missing(self) -> None:
        """Without libxcrypt yescrypt is refused in words; SHA goes on with libpass."""
        with self.assertRaisesRegex(BadHash, "needs the system's libcrypt to be libxcrypt"):
            _ = read_hash(YESCRYPT, None)
        with self.assertRaisesRegex(BadHash, "needs the system's libcrypt to be libxcrypt"):
            _ = make_hash("yescrypt", "x", None)

    def test_does_not_do_it(self) -> None:
        """Nor does a libcrypt help that doesn't know the kind, or fails."""
        strange = StrangeCrypt()
        with self.assertRaisesRegex(BadHash, "libxcrypt"):
            _ = read_hash(YESCRYPT, strange)
        self.assertTrue(read_hash(SHA512, strange).matches("caf\u00e9"))
        with self.assertRaisesRegex(BadHash, "no such hashes"):
            _ = make_hash("yescrypt", "x", strange)
        strange.setting = "$y$"
        with self.assertRaisesRegex(BadHash, "couldn't hash"):
            _ = make_hash("yescrypt", "x", strange)

    def test_looking_for_it(self) -> None:
        """Libraries that aren't there, or are others, are passed over."""
        self.assertIsNone(load(["libno-such-library.so.1", "libc.so.6"]))

    def test_unknown_kind(self) -> None:
        """It says when it doesn't know a kind of hash."""
        if LIBCRYPT is None:
            self.skipTest("the system has no libxcrypt")
        self.assertFalse(LIBCRYPT.knows("$nonsense$"))
        self.assertIsNone(LIBCRYPT.hashed("x", "$nonsense$"))
        with self.assertRaisesRegex(ValueError, "makes no"):
            _ = LIBCRYPT.new_setting("$nonsense$")


class HashTests(HouseCase):
    def test_new_hashes(self) -> None:
        """Both ways of computing agree on a new hash; no two are the same."""
        for method in METHODS[:2]:
            hashed = make_hash(method, "x")
            self.assertNotEqual(hashed, make_hash(method, "x"))
            for library in (None, LIBCRYPT):
                self.assertTrue(read_hash(hashed, library).matches("x"))
        for odd in ("x\0y", "x" * 5000):
            with self.assertRaisesRegex(BadHash, "at most 4096 characters"):
                _ = make_hash("sha512", odd)

    def test_long_passwords(self) -> None:
        """They match, though the system's libcrypt wouldn't take them."""
        hashed = sha512_crypt.using(rounds=1000).hash("x" * 1000)
        self.assertTrue(read_hash(hashed).matches("x" * 1000))
        self.assertFalse(read_hash(hashed).matches("x" * 1001))

    def test_matches(self) -> None:
        """The right password matches, whatever the kind; others don't."""
        hashed = [read_hash(one, lib) for one in (SHA256, SHA512) for lib in (None, LIBCRYPT)]
        for secret in (*hashed, Plain("caf\u00e9")):
            with self.subTest(secret=secret):
                self.assertTrue(secret.matches("caf\u00e9"))
                for wrong in ("", "cafe", "caf\u00e9 ", "x\0y", "x" * 5000):
                    self.assertFalse(secret.matches(wrong))

    def test_known_answer(self) -> None:
        """Hashes of crypt(3) itself match, as glibc makes them."""
        self.assertTrue(
            read_hash("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5").matches(
                "Hello world!"
            )
        )
        self.assertTrue(
            read_hash(
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJu"
                "esI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
            ).matches("Hello world!")
        )

    def test_unusable_hashes(self) -> None:
        """What can't be used is named, and the hash itself isn't shown."""
        for hashed, named in (
            ("$y$j9T$abcdef$ghijkl", "broken"),
            ("$y$jHT$abcdef$" + "x" * 43, "too much memory"),
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
                    read_hash(hashed)
                self.assertNotIn("abcdef", str(caught.exception))

    def test_nobody_is_a_hash(self) -> None:
        """What is compared with when there are no users takes as long as a user's."""
        self.assertFalse(read_hash(NOBODY).matches("x"))


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
        self.path.write_text(f"me:{SHA512}\nnobody\n:x\nme:{SHA512}\nyou:$2b$abcdef$x\n")
        with self.assertRaises(ConfigurationError) as caught:
            passfile.create({"file": str(self.path)})
        self.assertEqual([2, 3, 4, 5], [problem.line for problem in caught.exception.problems])
        self.assertIn("user 'you': bcrypt ($2b$) isn't supported", str(caught.exception))
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
