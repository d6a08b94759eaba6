"""The clients' door: request lines in, answer lines out (``doc/protocol`` §1)."""
