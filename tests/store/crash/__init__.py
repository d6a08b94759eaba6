"""Crash tests of the store: a machine in memory, stories, and what must be true after them.

``story`` tells what is done to a store and remembers what it acknowledged; ``world`` is a store
on a machine in memory; ``judge`` compares what is found after a crash with what was
acknowledged; ``cuts`` and ``faults`` make crashes and troubles of all kinds, each with a name
by which ``python -m tests.store.crash NAME`` does it again.
"""
