"""Who may call an agent.

A backend is any importable module with ``create(config)``, which gets the keys of the
configuration's ``authentication`` section besides ``module`` and gives an object with
``authenticate(user, password) -> bool``.  It may block and is called in a thread, several at
a time.  ``create`` raises :class:`~harpcaller.config.problems.ConfigurationError`, or
``ValueError`` with a message of one line, for what it can't use.
"""
