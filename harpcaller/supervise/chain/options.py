"""Options as daemontools reads them: letters, joined or not, up to the first word that is none."""

from harpcaller.supervise.messages import Ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Options:
    """The options of a command line, one after the other; then what is left of it.

    Args:
        tool: Whose they are, for the messages.
        flags: Letters of options without an argument.
        valued: Letters of options with one, joined to it or in the next word.
        synopsis: The tool's usage line or lines, told after a mistake.
        arguments: The command line after the tool's name.

    Attributes:
        rest: What comes after the options; whole once the iteration is at its end.
    """

    def __init__(
        self, tool: str, flags: str, valued: str, synopsis: str, arguments: list[str]
    ) -> None:
        self._tool = tool
        self._flags = flags
        self._valued = valued
        self._synopsis = synopsis
        self.rest = arguments

    def __iter__(self) -> "Iterator[tuple[str, str]]":
        """Give each option's letter and argument (empty if it takes none).

        Raises:
            Ended: A letter isn't known, or lacks its argument.
        """
        while self.rest and self.rest[0].startswith("-") and self.rest[0] != "-":
            word = self.rest[0]
            self.rest = self.rest[1:]
            if word == "--":
                return
            yield from self._word(word[1:])

    def _word(self, letters: str) -> "Iterator[tuple[str, str]]":
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in self._flags:
                yield letter, ""
                continue
            if letter not in self._valued:
                raise self._wrong(f"illegal option -- {letter}")
            if not letters:
                if not self.rest:
                    raise self._wrong(f"option requires an argument -- {letter}")
                letters, self.rest = self.rest[0], self.rest[1:]
            yield letter, letters
            return

    def _wrong(self, what: str) -> Ended:
        return Ended(f"{self._tool}: {what}\n{self._synopsis}", 100)
