"""Tokens are known by their hashes, and a file of them that is wrong is refused whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.config.tokens import BadTokens, Tokens, is_name, new_token
from tests.house import HouseCase


def zeros(count: int) -> bytes:
    return bytes(count)


class TokenTests(HouseCase):
    def test_made_and_known(self) -> None:
        """The line that is made lets the token's owner in, and the token isn't in it."""
        token, line = new_token("web", zeros)
        self.assertEqual("A" * 43, token)
        self.assertNotIn(token, line)
        self.assertEqual("web", Tokens(line).owner(token))

    def test_unknown(self) -> None:
        """A token that isn't in the file is nobody's, however it looks."""
        tokens = Tokens(new_token("web", zeros)[1])
        for token in ("", "A" * 42, "A" * 44, "ä", "\ud800"):
            self.assertIsNone(tokens.owner(token))

    def test_comments_and_two_tokens_of_one_client(self) -> None:
        """A token can be exchanged while the old one still counts."""
        old, first = new_token("web", zeros)
        new, second = new_token("web", lambda count: b"1" * count)
        tokens = Tokens(f"# web\n\n  {first}\n{second}  \n")
        self.assertEqual(["web", "web"], [tokens.owner(old), tokens.owner(new)])

    def test_mistakes(self) -> None:
        """A mistake is told by its line, and quotes nothing of it but a name."""
        line = new_token("web", zeros)[1]
        for text, number, message in (
            ("web", 1, "expected <name>:sha256$<hash>"),
            (f"{line}\n:sha256$0", 2, "expected <name>:sha256$<hash>"),
            ("web:secret", 1, "expected sha256$ and 64 hexadecimal digits at its end"),
            (line.upper(), 1, "expected sha256$ and 64 hexadecimal digits at its end"),
            (f"{line}\n\nno{line}", 3, "another client has the same token as noweb"),
        ):
            error = self.assertRaises(BadTokens, Tokens, text)
            self.assertEqual((number, message), (error.line, str(error)))

    @given(st.text(max_size=20), st.binary(min_size=32, max_size=32))
    def test_every_name_that_is_one(self, name: str, secret: bytes) -> None:
        """Whatever a client may be called, its line is read back so."""
        if is_name(name):
            token, line = new_token(name, lambda _: secret)
            self.assertEqual(name, Tokens(line).owner(token))
