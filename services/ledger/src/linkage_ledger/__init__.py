"""A Merkle log with signed checkpoints and offline proofs."""
