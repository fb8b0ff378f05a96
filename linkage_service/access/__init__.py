"""Who is calling, and whether the policy allows it: the one place where access is decided."""
