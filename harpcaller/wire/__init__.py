"""Bytes to messages and back: pure codecs for every protocol we speak.

No I/O, no Twisted, nothing but the standard library: the client library stands on
this room.  Python 3.9 runs it.
"""
