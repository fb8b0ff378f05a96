"""Backups: database, blobs and, sealed, the service's keys at one consistent point; and their way back."""
