"""People: who they are, how they enrol and sign in, and their sessions."""
