"""Programs that change one thing of their process and become another program.

A run script starts several of them in a row, so that starting has to be quick: they import
``os``, ``sys`` and what is compiled into Python, nothing that has to be read from disk but each
other.  ``tests/supervise/test_lightness.py`` keeps it so.
"""
