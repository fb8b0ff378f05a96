"""Retention: what is past its date is deleted, beyond recovery, and a signed certificate says so."""
