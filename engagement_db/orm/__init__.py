"""What makes peewee exact on four servers: fields, sessions, transactions, pages. Knows no table of ours."""
