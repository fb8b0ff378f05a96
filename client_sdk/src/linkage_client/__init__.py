"""The data provider side of record linkage: encode, upload, retrieve, join."""
