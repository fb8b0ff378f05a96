"""One Alembic tree for SQLite and PostgreSQL.

While an upgrade is under way, processes of earlier releases serve on the new schema. Each migration from 0013 on says
which of them may: its `serves_from` is the oldest revision whose release can go on. Earlier releases can go on where

- all that they read is there, and what the new release writes means to them what it says: no column, table or value is
  gone, renamed or of another meaning, and they meet no value that they do not know;
- what they write is complete: a new column may be null or has a default in the database, and nothing that the new
  release relies on is missing from a row that it did not write.

Then `serves_from` is that of the migration before. Where none can, it is the migration's own revision. What is to go
goes in two releases: one that does without it, and a later one that drops it and serves from the revision of the first.
A process of an earlier release that is named no more is not ready, and does not start.

From these, `serving` keeps a table of the revisions that may serve in the transaction of the migrations, up and down.
A release asks there for its own newest revision: it cannot know the migrations that came after it.
"""
