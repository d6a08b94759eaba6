"""The token in a request: read, written, and never quoted."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.errors import InvalidRequest
from harpcaller.wire.client import GetStatus, JobId, decode_signed, encode_request


class SignedRequestTests(SynchronousTestCase):
    def test_token(self) -> None:
        """It comes out beside the request, whatever is in it."""
        request = GetStatus(JobId("x"))
        for token in (None, "", "sesame", "ä\n"):
            self.assertEqual((request, token), decode_signed(encode_request(request, token)))

    def test_wrong_ones(self) -> None:
        """What is wrong is told, and nothing of what stands there, be it in the wrong place."""
        for auth, said in (
            ('"sesame"', "auth: expected an object, got a string"),
            ('["sesame"]', "auth: expected an object, got a list"),
            ("5355", "auth: expected an object, got a number"),
            ("null", "auth: expected an object, got null"),
            ("{}", "auth: expected a token, and nothing else"),
            ('{"sesame":1}', "auth: expected a token, and nothing else"),
            ('{"token":"x","sesame":1}', "auth: expected a token, and nothing else"),
            ('{"token":5355}', "auth.token: expected a string, got a number"),
            ('{"token":["sesame"]}', "auth.token: expected a string, got a list"),
            ('{"token":"sesame\\ud800"}', "auth.token: half of a surrogate pair in a string"),
        ):
            line = f'{{"harpcaller":1,"get_status":"x","auth":{auth}}}'.encode()
            error = self.assertRaises(InvalidRequest, decode_signed, line)
            self.assertEqual(said, str(error), auth)
