"""Options as daemontools reads them: letters, joined or not, up to the first word that is none."""

from harpcaller.supervise.messages import USED_WRONGLY, Ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


class Options:
    """The options of a command line, one after the other; then what is left of it.

    Args:
        tool: Whose they are, for the messages.
        flags: Keys of options without an argument.  An option's key is its letter, or any name
            for one that only has a long form.
        valued: Keys of options with one, joined to the letter or in the next word.
        synopsis: The tool's usage line or lines, told after a mistake.
        arguments: The command line after the tool's name.
        long: Long forms and their keys; daemontools' own tools have none.

    Attributes:
        rest: What comes after the options; whole once the iteration is at its end.
    """

    def __init__(
        self,
        tool: str,
        flags: "Collection[str]",
        valued: "Collection[str]",
        synopsis: str,
        arguments: list[str],
        long: "Mapping[str, str] | None" = None,
    ) -> None:
        self._tool = tool
        self._flags = flags
        self._valued = valued
        self._synopsis = synopsis
        self._long = long
        self.rest = arguments

    def __iter__(self) -> "Iterator[tuple[str, str]]":
        """Give each option's key and argument (empty if it takes none).

        Raises:
            Ended: An option isn't known, lacks its argument, or has one too many.
        """
        while self.rest and self.rest[0].startswith("-") and self.rest[0] != "-":
            word = self.rest[0]
            self.rest = self.rest[1:]
            if word == "--":
                return
            if self._long is not None and word.startswith("--"):
                yield self._long_form(word[2:], self._long)
            else:
                yield from self._letters(word[1:])

    def _letters(self, letters: str) -> "Iterator[tuple[str, str]]":
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in self._flags:
                yield letter, ""
            elif letter in self._valued:
                yield letter, letters or self._next(letter)
                return
            else:
                raise self._wrong(f"illegal option -- {letter}")

    def _long_form(self, word: str, long: "Mapping[str, str]") -> tuple[str, str]:
        name, equals, value = word.partition("=")
        key = long.get(name)
        if key is None:
            raise self._wrong(f"illegal option -- {name}")
        if key in self._valued:
            return key, value if equals else self._next(name)
        if equals:
            raise self._wrong(f"option takes no argument -- {name}")
        return key, ""

    def _next(self, option: str) -> str:
        """Take the next word as an option's argument."""
        if not self.rest:
            raise self._wrong(f"option requires an argument -- {option}")
        value, self.rest = self.rest[0], self.rest[1:]
        return value

    def _wrong(self, what: str) -> Ended:
        return Ended(f"{self._tool}: {what}\n{self._synopsis}", USED_WRONGLY)
