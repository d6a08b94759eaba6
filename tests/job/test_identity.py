"""Job ids can't be guessed, and are what the protocol says."""

from __future__ import annotations

import os
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.job.identity import new_job_id


class IdentityTests(SynchronousTestCase):
    def test_lower_case_uuid_of_version_4(self) -> None:
        """Whatever the random source gives, version and variant are right."""
        for byte in (b"\x00", b"\xff", b"\xab"):
            job_id = new_job_id(byte.__mul__)
            uuid = UUID(job_id)
            self.assertEqual((job_id.lower(), 4), (job_id, uuid.version))
            self.assertEqual(str(uuid), job_id)

    def test_all_other_bits_are_random(self) -> None:
        """122 bits come from the source, which is asked for 16 bytes."""
        asked: list[int] = []

        def source(count: int) -> bytes:
            asked.append(count)
            return bytes(range(count))

        self.assertEqual("00010203-0405-4607-8809-0a0b0c0d0e0f", new_job_id(source))
        self.assertEqual([16], asked)

    def test_each_is_new(self) -> None:
        """Two calls never share an id."""
        self.assertEqual(1000, len({new_job_id(os.urandom) for _ in range(1000)}))
