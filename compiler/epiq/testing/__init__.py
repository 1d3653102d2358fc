"""Checks that programs run on themselves: a fuzzer (`python -m epiq.testing.fuzz`) and its oracle."""
