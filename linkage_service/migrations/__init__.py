"""One Alembic tree for SQLite and PostgreSQL."""
