"""Call procedures on your servers, queue the calls, keep every result.

Importing this package costs nothing; see :mod:`harpcaller.interfaces` for how
its rooms meet.
"""

__version__ = "0.1.0"
