"""Keys: cards of providers, envelopes between them, and the epochs of a project's secret, which stays unknown here."""
