"""PURE: a job's machine and its two clocks.  No I/O; time is passed in."""
