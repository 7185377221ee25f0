"""Bytes of text read by compiled loops: JSON objects one a line, the records and quotes of CSV, and times."""
