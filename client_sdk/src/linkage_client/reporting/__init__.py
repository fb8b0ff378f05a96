"""Reports for people: in words, on a terminal, and as a page that can be mailed."""
