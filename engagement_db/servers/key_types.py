"""The types of ids and of columns that hold ids, in a database whose platform may have 64 bit or unsigned ones."""

from dataclasses import replace
from typing import Final

from engagement_db.servers.catalog import Catalog
from engagement_db.tables import Column, Id, Integer, Table

# The library's own ids have as many bits as those of this table of the platform.
_PLATFORM_TABLE: Final = "users"


class KeyTypes:
    """The types that declared ids, and columns that hold ids, have in one database.

    The ``id`` of an existing table keeps its type, a new one has as many bits as the ``id`` of the platform's users,
    and a column that holds ids has the type of their table's ``id``. In an empty database all are INTEGER.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._ids: dict[str, Id] = {}

    def of(self, table: str) -> Id:
        """Return the type of the ``id`` of a table, whether it exists or will be created."""
        if table not in self._ids:
            live = self._catalog.column(table, "id")
            match live.type if live else None:
                case Id(bits, is_unsigned) | Integer(bits, is_unsigned):
                    self._ids[table] = Id(bits, is_unsigned)
                case _:
                    self._ids[table] = Id() if table == _PLATFORM_TABLE else Id(self.of(_PLATFORM_TABLE).bits)
        return self._ids[table]

    def fit(self, table: Table) -> Table:
        """Return the declared table with the types that its ids have in this database."""
        return replace(table, columns=tuple(self.fit_column(table.name, column) for column in table.columns))

    def fit_column(self, table: str, column: Column) -> Column:
        """Return a declared column of the table with the type that its ids have in this database."""
        match column.type:
            case Id():
                return replace(column, type=self.of(table))
            case Integer(ids_of=str(parent)):
                key = self.of(parent)
                return replace(column, type=Integer(key.bits, key.is_unsigned, parent))
            case _:
                return column
