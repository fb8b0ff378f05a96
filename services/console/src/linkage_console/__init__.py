"""Web pages for the people of a linkage service: a client of its HTTP API, without a database and without rights."""
