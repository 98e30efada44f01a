"""Candidate sources: one file a source, and its row in `rows.SOURCES`."""
