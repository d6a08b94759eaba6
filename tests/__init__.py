"""The tests; they mirror harpcaller/, and system/ has those with real processes and sockets.

In CI hypothesis draws the same examples every time; elsewhere it goes on looking.
"""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("dev", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
