"""Readers that bring real data, each to the same columnar `Dataset`."""
