"""Tests of harpcaller.supervise.multilog."""
