"""Agreements: what the parties signed, and what the policy reads from it."""
