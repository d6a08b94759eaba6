"""Tests of harpcaller.supervise."""
