"""Uploads: encodings of one provider for one project, in parts, checked before they count."""
