"""Alembic's environment: the URL comes from the command line, `alembic -x url=... upgrade head`."""

from alembic import context
from sqlalchemy import create_engine

with create_engine(context.get_x_argument(as_dictionary=True)["url"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
