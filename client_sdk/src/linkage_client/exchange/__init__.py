"""Hands the linkage secret from one provider to the others through a service that must not learn it.

Every provider has exchange keys and publishes their public halves as a key card. People compare one safety code of all
cards; only then is the secret encrypted, in an envelope for each provider, and signed. What is here trusts no answer of
the service: cards and envelopes are read as bytes that an attacker may have written.
"""
