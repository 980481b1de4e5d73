"""Which database `pw_migrate` works on: --database, then DATABASE_URL, then the file engagement.db."""

from engagement_db.schema.peewee_migrate import open_database

DATABASE = open_database()
# The platform's own tables, and the model that all of the library's extend: `create --auto` leaves them out.
IGNORE = ["basemodel", "user", "project", "gig"]
