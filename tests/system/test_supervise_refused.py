"""What svc says when it can't wait for a service."""

from __future__ import annotations

from tests.system.chain_tools import ChainCase


class WaitingTests(ChainCase):
    """svc -w"""

    def test_no_service(self) -> None:
        """A folder that isn't there is told in a line, with what it is waited for or without."""
        for options in (["-wu"], ["-u", "-wu"]):
            outcome = self.ours("svc", *options, "nowhere")
            line = b"svc: warning: unable to chdir to nowhere: file does not exist\n"
            self.assertEqual((1, b"", line), outcome)
