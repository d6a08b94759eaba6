"""Public fakes: what programs built on this package can test themselves with."""
