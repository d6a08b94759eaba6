"""The tests; they mirror harpcaller/, and system/ has those with real processes and sockets.

In CI hypothesis draws the same examples every time; elsewhere it goes on looking.  Of what CI
runs twice, the run that is traced for coverage tries a ``quarter``, the other all.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("quarter", settings.get_profile("ci"), max_examples=25)
settings.register_profile("dev", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=5_000)
# Those who run tests in the background of a shell, or under nohup, ignore these; but ^C is
# what some tests press, and others look at what programs get.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number,
            signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL,
        )

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
