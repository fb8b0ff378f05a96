"""Runs: one execution of the matcher on a project's uploads."""
