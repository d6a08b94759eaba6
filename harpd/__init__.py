"""The agent's import name for users' code; everything is in :mod:`harpcaller.agent`."""
