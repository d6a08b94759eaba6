"""What the codecs are tried with: JSON texts in all spellings, and bytes in any pieces."""

from __future__ import annotations

from hypothesis import strategies as st

from harpcaller.wire.values import check

_space = st.text(" \t\r\n", max_size=2)
_exponent = st.just("") | st.builds(
    "{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 400)
)
_fraction = st.just("") | st.text("0123456789", min_size=1, max_size=6).map(".{}".format)

#: Numbers as JSON can write them: 1, 1.0, 10e-1, -0, thirty digits.
numbers = st.builds("{}{}{}".format, st.integers(-(10**30), 10**30), _fraction, _exponent)

_escapes = st.sampled_from(
    ["\\n", "\\u0041", "\\ud83d\\ude00", "\\ud800", '\\"', "\\\\", "\\/", "[{", "}]"]
)
_letters = st.text(
    st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"]),
    max_size=5,
)

#: Strings as JSON can write them, their quotes included.
strings = st.lists(_letters | _escapes, max_size=4).map(lambda parts: '"{}"'.format("".join(parts)))

_scalars = st.sampled_from(["null", "true", "false"]) | numbers | strings


def _spaced(text: str, before: str, after: str) -> str:
    return f"{before}{text}{after}"


def _containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spaced = st.builds(_spaced, inner, _space, _space)
    lists = st.lists(spaced, max_size=4).map(lambda items: "[{}]".format(",".join(items)))
    member = st.builds("{}{}:{}".format, strings, _space, spaced)
    objects = st.lists(member, max_size=4).map(lambda items: "{{{}}}".format(",".join(items)))
    return lists | objects


#: Any JSON text; keys may stand twice in its objects.
texts = st.recursive(_scalars, _containers, max_leaves=8)

#: Any JSON value as checked bytes.
raws = texts.map(lambda text: check(text.encode()))

#: Python values that JSON can hold, and gives back as they are.
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)

#: Text that has a UTF-8 form.
words = st.text(max_size=12)


def pieces(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes into pieces at the given places, wherever those are."""
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


def mangled(line: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Lines of the protocol with a few bytes changed, lost or too many."""

    def mangle(data: bytes, place: int, length: int, new: bytes) -> bytes:
        place %= len(data) + 1
        return data[:place] + new + data[place + length :]

    return st.builds(mangle, line, st.integers(0), st.integers(0, 5), st.binary(max_size=5))
