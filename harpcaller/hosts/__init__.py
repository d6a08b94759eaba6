"""Which hosts there are: the registry, the script that fills it, and its cache.

Credentials never leave this room but inside a :class:`~harpcaller.interfaces.Host`; no log
line or error message here quotes what an entry holds.
"""
