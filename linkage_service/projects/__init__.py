"""Projects: one linkage round under one agreement version."""
