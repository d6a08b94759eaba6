"""The tests; they mirror harpcaller/, and system/ has those with real processes and sockets.

In CI hypothesis draws the same examples every time; elsewhere it goes on looking.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("dev", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=5_000)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a shell; but ^C is what some tests press.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
