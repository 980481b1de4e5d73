"""Severity of a difference: harmless, fixable or breaking."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from engagement_db.schema.compare import (
    Collation,
    Difference,
    Kind,
    Part,
    collation_differences,
    differences,
    same_rule,
)
from engagement_db.servers import Catalog, Server, ddl
from engagement_db.servers.dialect import Dialect
from engagement_db.tables import (
    Check,
    Column,
    ColumnType,
    Enum,
    ForeignKey,
    Index,
    Integer,
    Json,
    Now,
    Other,
    Table,
    Text,
    Timestamp,
    Varchar,
    covers,
)


class Severity(StrEnum):
    """How bad a difference is.

    ``HARMLESS``: every row and every query of the library still works. ``FIXABLE``: they work too, unless a column is
    missing, and ``engagement-db adopt --align`` removes the difference. ``BREAKING``: something fails, and a person has
    to decide.
    """

    HARMLESS = "harmless"
    FIXABLE = "fixable"
    BREAKING = "breaking"


@dataclass(frozen=True)
class ClassifiedDifference:
    """A difference and its severity.

    ``violations`` counts the rows that violate the missing check or hold NULL, ``duplicates`` names those with
    equal values under the missing unique index: the first and the last id of up to ten values.
    """

    difference: Difference
    severity: Severity
    violations: int = 0
    duplicates: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What differs, without the place."""
        return self.difference.message + self._violated

    @property
    def is_breaking(self) -> bool:
        """Whether a row or a query of the library fails for as long as the difference is there."""
        return self.severity is Severity.BREAKING or self.difference.kind in (Kind.TABLE, Kind.COLUMN)

    @property
    def unmarked(self) -> str:
        """The difference with its place, without its severity."""
        return f"{self.difference}{self._violated}"

    @property
    def _violated(self) -> str:
        if self.duplicates:
            return f", and rows hold equal values: those with id {'; '.join(self.duplicates)}"
        if not self.violations:
            return ""
        rows = "1 row" if self.violations == 1 else f"{self.violations:,} rows"
        if self.difference.kind is Kind.NULL:
            return f", and {rows} {'holds' if self.violations == 1 else 'hold'} NULL"
        return f", and {rows} {'violates' if self.violations == 1 else 'violate'} it"

    def __str__(self) -> str:
        return self.unmarked if self.severity is Severity.BREAKING else f"{self.unmarked} ({self.severity})"


def judge(
    declared: Table, catalog: Catalog, server: Server, *, is_whole: bool = True
) -> Iterator[ClassifiedDifference]:
    """Yield each difference between a declared table and the live one with its severity, given the live rows.

    Extra objects and collations count only if ``declared`` is the whole table. Reads all rows where a
    check, a unique index or NOT NULL is missing.
    """
    live = catalog.table(declared.name)
    for item in classify(declared, live, server):
        if is_whole or item.difference.kind is not Kind.EXTRA:
            yield _consider_rows(item, catalog, server)
    if is_whole and live is not None:
        for difference in collation_differences(live.name, catalog.collations(live.name), server.charset):
            yield ClassifiedDifference(difference, severity(difference, declared, server))


def _consider_rows(item: ClassifiedDifference, catalog: Catalog, server: Server) -> ClassifiedDifference:
    """Return the difference, with another severity if existing rows prevent its removal."""
    if item.severity is not Severity.FIXABLE:
        return item
    table = item.difference.table
    match item.difference.wanted:
        case Index(columns=columns, unique=True):
            duplicates = catalog.duplicate_ids(table, columns)
            return replace(item, severity=Severity.BREAKING, duplicates=duplicates) if duplicates else item
        case Column(name) if item.difference.kind is Kind.NULL:
            # One query, because another session may write between two.
            nulls = catalog.count_violations(table, f'"{name}" IS NOT NULL')
            return replace(item, severity=Severity.BREAKING, violations=nulls) if nulls else item
    check = missing_check(item.difference, server)
    violations = catalog.count_violations(table, check.expression) if check else 0
    if not violations:
        return item
    # A value of an unknown type cannot be read; a check that rows violate was violated before the adoption.
    worse = Severity.BREAKING if item.difference.kind is Kind.TYPE else Severity.HARMLESS
    return replace(item, severity=worse, violations=violations)


def missing_check(difference: Difference, server: Server) -> Check | None:
    """Return the missing check: the declared one, or the one that emulates a type that the server lacks."""
    match difference.wanted:
        case Check() as check:
            return check
        case Column() as column if difference.kind is Kind.TYPE:
            return ddl.type_check(server, difference.table, column)
        case _:
            return None


def equivalent(part: Index | Check, live: Table | None) -> Index | Check | None:
    """Return the live object that is equivalent to ``part``, whatever its name is, or None."""
    others: tuple[Index | Check, ...] = ()
    if live is not None:
        others = live.indexes if isinstance(part, Index) else live.checks
    return next((other for other in others if _is_equivalent(part, other)), None)


def _is_equivalent(part: Index | Check, other: Index | Check) -> bool:
    match part, other:
        case Index(), Index():
            return replace(other, name=part.name) == part
        case Check(), Check():
            return other.validated and same_rule(part, other)
        case _:
            return False


def classify(declared: Table, live: Table | None, dialect: Dialect) -> Iterator[ClassifiedDifference]:
    """Yield each difference between the tables with its severity, whatever the rows are.

    An equivalent object under another name is one harmless difference, not a missing and an extra object.
    """
    namesakes: list[Part] = []
    for difference in differences(declared, live):
        match difference.wanted:
            case Index() | Check() as part if difference.missing and (namesake := equivalent(part, live)):
                namesakes.append(namesake)
                yield ClassifiedDifference(replace(difference, found=namesake), Severity.HARMLESS)
            case _ if difference.kind is not Kind.EXTRA or difference.found not in namesakes:
                yield ClassifiedDifference(difference, severity(difference, declared, dialect))


def severity(difference: Difference, declared: Table, dialect: Dialect) -> Severity:
    """Return how bad a difference between a live table and ``declared`` is, whatever the rows are."""
    match difference.wanted, difference.found:
        case None, found:
            return Severity.BREAKING if _breaks_inserts(declared, found) else Severity.HARMLESS
        case Column() as column, Column() as found_column if difference.kind is Kind.TYPE:
            return _type_severity(column.type, found_column.type, dialect)
        case Column() as column, Column() as found_column if difference.kind is Kind.DEFAULT:
            both_now = isinstance(column.default, Now) and isinstance(found_column.default, Now)
            return Severity.HARMLESS if both_now or column.default is None else Severity.BREAKING
        case Column() as column, None:
            return Severity.FIXABLE if fits_existing_rows(column) else Severity.BREAKING
        case Column(), Column(null=True) if difference.kind is Kind.NULL:
            return Severity.FIXABLE
        case ForeignKey() as key, ForeignKey() as found_key:
            return _key_severity(key, found_key)
        case (Index() | Check(), _) if difference.missing:
            return Severity.FIXABLE
        case Collation(charset), Collation(collation) if collation.startswith(charset):
            return Severity.HARMLESS
        case _:
            return Severity.BREAKING


def fits_existing_rows(column: Column) -> bool:
    """Return whether the column can be added to a table with rows: it allows NULL or has a literal default."""
    return not isinstance(column.default, Now) and (column.null or column.default is not None)


def _type_severity(wanted: ColumnType, found: ColumnType, dialect: Dialect) -> Severity:
    match wanted, found:
        case Timestamp(), Timestamp():
            return Severity.HARMLESS
        case Enum(wanted_labels), Enum(labels) if covers(labels, wanted_labels):
            # Labels that the library does not know are read as they are.
            return Severity.HARMLESS
        case (Enum(), Text()) | (Json(), Text() | Other("JSON")) if dialect.emulates_enum_and_json:
            return Severity.FIXABLE
        case Integer(bits), Integer(found_bits, is_unsigned) if found_bits >= bits and not is_unsigned:
            return Severity.HARMLESS
        case (Varchar() | Text(), Varchar() | Text()) if not dialect.enforces_length:
            return Severity.HARMLESS
        case Varchar(wanted_length), Varchar(length) if length > wanted_length:
            return Severity.HARMLESS
        case _:
            return Severity.BREAKING


def _key_severity(wanted: ForeignKey, found: ForeignKey) -> Severity:
    same_target = (wanted.parent, wanted.parent_column) == (found.parent, found.parent_column)
    # Ids never change, so an action on update never runs.
    known_update = found.on_update in ("CASCADE", "NO ACTION", "RESTRICT")
    # The library never deletes such a parent, so CASCADE affects only other writers.
    same_delete = wanted.on_delete == found.on_delete or (
        wanted.on_delete == "RESTRICT" and found.on_delete in ("CASCADE", "NO ACTION")
    )
    works = found.validated and same_target and known_update and same_delete
    return Severity.HARMLESS if works else Severity.BREAKING


def _breaks_inserts(declared: Table, extra: Part | None) -> bool:
    """Return whether an unmanaged object rejects rows that the declared table accepts."""
    match extra:
        case Column(null=nullable, default=default):
            return not nullable and default is None
        case ForeignKey(column=column, on_delete=on_delete):
            own = declared.column(column)
            # A nullable reference that is set to NULL with its parent rejects no row that the library writes.
            return own is not None and not (own.null and on_delete == "SET NULL")
        case Index(columns=columns, unique=True):
            unique = [{"id"}, *(set(index.columns) for index in declared.indexes if index.unique)]
            is_wider = any(already <= set(columns) for already in unique)
            return not is_wider and all(declared.column(column) for column in columns)
        case _:
            return False
