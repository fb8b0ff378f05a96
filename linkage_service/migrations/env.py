"""Alembic's entry: runs migrations on the engine it is handed."""

from alembic import context
from sqlmodel import SQLModel

import linkage_service.migrate  # noqa: F401 - registers every table

engine = context.config.attributes["engine"]

with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
        if (last := context.config.attributes.get("last")) is not None:
            # In the transaction of the migrations, so that nobody sees what is there before it.
            last(connection)
    connection.commit()
