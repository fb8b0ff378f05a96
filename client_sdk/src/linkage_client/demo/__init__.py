"""Invented people and a whole linkage to try, so that nobody needs personal data to see the product work."""
