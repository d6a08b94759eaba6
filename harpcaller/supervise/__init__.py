"""Keeps services up: daemontools' programs, and what stands on the same parts.

An island: it imports ``wire | errors | config | logs | interfaces`` and nothing else of the
house.  :mod:`harpcaller.supervise.harpsv` is the one command with many names.
"""
