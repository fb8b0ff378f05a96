"""Turns identifiers into encodings on the provider's machine: the only place that sees both identifiers and secret."""
