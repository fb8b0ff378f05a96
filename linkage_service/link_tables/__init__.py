"""Releases and link tables: what leaves, for whom, and the record of it."""
