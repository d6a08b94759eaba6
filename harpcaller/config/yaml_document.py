"""A YAML file read so that each mistake in it can be told with its line.

Reading notes what is wrong and goes on, so that all of it is told at once.  What the keys
mean is the business of whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from harpcaller.config.problems import ConfigurationError, Problem, nearest

#: The keys that lead to a value, from the outermost on; items of a list by their number.
Place = tuple[str, ...]

#: How many values a file may have; a few lines of aliases can stand for any number.
MOST_VALUES = 100_000
_UNDER_WAY = 0


def read_text(path: Path) -> str:
    """Give what stands in a file.

    Raises:
        ConfigurationError: It can't be read.
    """
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError([Problem(str(path), None, error.strerror or "?")]) from None
    except UnicodeDecodeError as error:
        problem = Problem(str(path), None, f"not UTF-8 at byte {error.start}")
        raise ConfigurationError([problem]) from None


def _size(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Count the values under a node, those that an alias stands for once for each alias.

    Raises:
        RecursionError: One is a part of itself.
    """
    if node not in known:
        known[node] = _UNDER_WAY
        size = 1
        if isinstance(node, yaml.SequenceNode):
            size += sum(_size(item, known) for item in node.value)
        elif isinstance(node, yaml.MappingNode):
            size += sum(_size(key, known) + _size(value, known) for key, value in node.value)
        known[node] = size
    if known[node] == _UNDER_WAY:
        raise RecursionError
    return known[node]


class YAMLDocument:
    """A YAML file as plain values, with the line of each key.

    Args:
        file: Its name, for messages.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def read(self, text: str) -> object:
        """Read the text.

        Raises:
            ConfigurationError: It isn't YAML.
        """
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if node is None:
                return None
            if _size(node, {}) > MOST_VALUES:
                said = f"more than {MOST_VALUES} values, with what aliases stand for"
                raise ConfigurationError([Problem(self.file, None, said)])
            return self._plain(loader, node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line = None if mark is None else mark.line + 1
            said = error.problem or error.context or "not YAML"
            raise ConfigurationError([Problem(self.file, line, f"not YAML: {said}")]) from None
        except (yaml.YAMLError, ValueError) as error:
            said = str(error).split("\n")[0]
            raise ConfigurationError([Problem(self.file, None, f"not YAML: {said}")]) from None
        except RecursionError:
            problem = Problem(self.file, None, "nested too deeply")
            raise ConfigurationError([problem]) from None

    def _plain(self, loader: yaml.SafeLoader, node: yaml.Node, place: Place) -> object:
        if isinstance(node, yaml.SequenceNode):
            items = []
            for number, item in enumerate(node.value):
                inside = (*place, str(number))
                self.lines.setdefault(inside, item.start_mark.line + 1)
                items.append(self._plain(loader, item, inside))
            return items
        if not isinstance(node, yaml.MappingNode):
            return self._scalar(loader, node)
        loader.flatten_mapping(node)
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            inside = (*place, key)
            if key in found:
                self.problems.append(self._at(key_node, inside, "stands twice"))
            self.lines.setdefault(inside, key_node.start_mark.line + 1)
            found[key] = self._plain(loader, value_node, inside)
        return found

    def _scalar(self, loader: yaml.SafeLoader, node: yaml.Node) -> object:
        try:
            return loader.construct_object(node)
        except yaml.YAMLError:
            raise
        except Exception:  # noqa: BLE001  # of any kind: the library takes tags at their word
            line = node.start_mark.line + 1
            problem = Problem(self.file, line, "not YAML: no value of its kind")
            raise ConfigurationError([problem]) from None

    def _at(self, node: yaml.Node, place: Place, message: str) -> Problem:
        name = ".".join(place)
        return Problem(self.file, node.start_mark.line + 1, f"{name}: {message}")

    def wrong(self, place: Place, message: str) -> None:
        """Note a mistake."""
        self.problems.append(problem_at(self.file, self.lines, place, message))

    def odd(self, place: Place, message: str) -> None:
        """Note what is only odd."""
        self.warnings.append(problem_at(self.file, self.lines, place, message))

    def mapping(self, place: Place, value: object, what: str) -> dict[str, Any]:
        """Take a value that has to be a mapping; something else is a mistake, and empty."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(place, f"expected {what}, as key: value lines")
            return {}
        return value

    def known(self, place: Place, found: Mapping[str, Any], *groups: tuple[str, ...]) -> None:
        """Find keys odd that nobody knows."""
        known = [key for group in groups for key in group]
        for key in found:
            if key not in known:
                meant = nearest(key, known)
                hint = f"; did you mean {meant}?" if meant else ""
                self.odd((*place, key), f"unknown key{hint}")


def problem_at(file: str, lines: Mapping[Place, int], place: Place, message: str) -> Problem:
    """Tell of a problem with what stands at a place; the nearest line known is told."""
    known = place
    while known and known not in lines:
        known = known[:-1]
    name = ".".join(place)
    return Problem(file, lines.get(known), f"{name}: {message}" if name else message)
