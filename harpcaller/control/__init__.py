"""The operators' door: commands on a Unix socket, and the tool that sends them.

The daemon's side is one table of commands (:mod:`~harpcaller.control.commands`), two thin
codecs over it and a server; the tool's side (:mod:`~harpcaller.control.cli` and what it
imports) knows the wire only, and no Twisted.  This file imports nothing, for the tool's sake.
"""
