"""The whole daemon under fire, and what is left to say about it afterwards.

:mod:`.simulation` plays a dispatcher's life in one process, on a clock, from a seed;
:mod:`tests.system.test_fire` does the same with real processes.  Both write a
:class:`~.history.History` of every question that a client asked and of every answer it
got, and :func:`~.checker.complaints` holds that against what the design promises.

A seed alone, with all that happened::

    python -m tests.fire 4711 --trace
"""
