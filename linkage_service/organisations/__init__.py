"""Organisations and their machine clients: who may call, and with which key."""
