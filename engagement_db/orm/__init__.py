"""What makes peewee exact on four servers: fields, sessions, transactions, pages. Depends on no table."""
