"""The access log: what happened, in a Merkle tree that nobody can change unseen."""
