"""Tests of harpcaller.supervise.tai64n."""
