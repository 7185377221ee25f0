"""Expectations: evaluated in one scan, with quarantine."""
