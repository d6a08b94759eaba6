"""What the original of this program, in Erlang, did: as it was measured, on another machine.

HarpCaller 0.5.0 on Erlang/OTP 25, two virtual processors, its fastest runs.  They can't be measured
in the run that they are compared in, so that ratios to them tell the order only.
"""

from __future__ import annotations

#: How these figures are called in tables.
THAN = "the original, as reported"

#: Calls from submission to result, fifty at once, a connection for each request.
CALLS = 206.0
#: Submissions a second, of 5,000 to one queue; it fell while the queue grew.
SUBMISSIONS = 288.0
#: What each job that waits takes, in bytes; and a descriptor.
WAITING_BYTES = 73_000.0
#: ``list --all`` of 5,000 ended jobs, in seconds.
LIST_ALL_SECONDS = 4.0
#: Results of ended jobs that are read in a second, fifty clients at once.
READS = 777.0
#: Records of a stream that one client follows, in a second.
RECORDS = 8_330.0
