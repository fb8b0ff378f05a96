"""Alembic's entry: runs migrations on the engine it is handed."""

from alembic import context
from sqlmodel import SQLModel

from linkage_service import migrate  # registers every table, too
from linkage_service.database import taking_turns
from linkage_service.migrations import serving

engine = context.config.attributes["engine"]

# Among the writers: two upgrades at once would make everything twice, and of one and a writer that wait for each other
# the database would end either.
with taking_turns(engine).connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        # SQLite's too: Alembic takes it for a database that cannot take changes of tables back, and would commit each.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # Whoever asks for a table queues behind a change of it, even one that still waits for somebody who reads.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {migrate.LOCK_WAIT_MS}")
        context.run_migrations()
        # In the transaction of the migrations, as all that follows, so that nobody sees what is there before it.
        serving.keep(connection, context.script, context.get_context().get_current_revision())
        if (last := context.config.attributes.get("last")) is not None:
            last(connection)
    connection.commit()
