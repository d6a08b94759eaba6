"""However the network cuts what an agent says, the call comes to the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.interfaces import Limits
from harpcaller.testing.agent import HANG_UP, Say, Step, Wait, acknowledge, end, record
from harpcaller.wire.ending import Raised, Returned
from harpcaller.wire.values import Raw
from tests.call.calling import CallingCase

_DATA = st.sampled_from([b"1", b'"x\\n"', b"[[]]", b'{"a": 1.0}', b'"%s"' % (b"y" * 90_000)])
_ENDINGS = st.sampled_from([Returned(Raw(b"null")), Raised("E", "no", Raw(b"{}"))])


class PiecesTests(CallingCase):
    @given(
        st.lists(_DATA, max_size=8),
        _ENDINGS,
        st.lists(st.integers(1, 200), max_size=20),
        st.booleans(),
    )
    def test_pieces_do_not_matter(
        self, wanted: list[bytes], ending: Returned | Raised, cuts: list[int], held: bool
    ) -> None:
        """Records and ending are the same in one piece or in many, stored at once or late."""
        # A run of its own for each example: Hypothesis calls setUp only once.
        self.setUp()
        said = acknowledge(streaming=True).data
        said += b"".join(record(data).data for data in wanted) + end(ending).data
        script: list[Step] = []
        for cut in cuts:
            script += [Say(said[:cut]), Wait(0)]
            said = said[cut:]
        self.sink.held = held
        self.run_call([*script, Say(said), HANG_UP], Limits(30, 600))
        while self.sink.waiting:
            self.sink.store(1)
            self.network.settle()
        self.assertEqual(ending, self.result)
        self.assertEqual(wanted, self.sink.records)
        self.assertClosed()
