"""What weight a difference has: to live with, to mend, or a reason not to go on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from engagement_db.dialects import Dialect
from engagement_db.schema.catalog import canonical
from engagement_db.schema.difference import Difference, Kind, differences
from engagement_db.tables import Check, Column, Enum, ForeignKey, Index, Json, Now, Other, Table, Text, Time, Varchar


class Weight(StrEnum):
    """``HARMLESS``: every row and every query of ours is served all the same. ``MENDABLE``: so it is,
    and ``engagement-db adopt --align`` takes the difference away. ``SERIOUS``: something of ours would fail.
    """

    HARMLESS = "harmless"
    MENDABLE = "mendable"
    SERIOUS = "serious"


@dataclass(frozen=True)
class Judged:
    """A difference and its weight."""

    difference: Difference
    weight: Weight

    def __str__(self) -> str:
        return f"{self.difference}{'' if self.weight is Weight.SERIOUS else f' ({self.weight})'}"


def judged(declared: Table, live: Table | None, dialect: Dialect) -> Iterator[Judged]:
    """Yield every difference between the tables with its weight.

    What stands under another name is one harmless difference, not something missing and something extra.
    """
    if live is None:
        for difference in differences(declared, live):
            yield Judged(difference, Weight.SERIOUS)
        return
    namesakes: set[Index | Check] = set()
    for difference in differences(declared, live):
        match difference.kind:
            case Kind.TYPE:
                yield Judged(difference, _type(*_columns(declared, live, difference), dialect))
            case Kind.DEFAULT:
                yield Judged(difference, _default(*_columns(declared, live, difference)))
            case Kind.KEY:
                yield Judged(difference, _key(declared, live, difference))
            case Kind.INDEX | Kind.CHECK:
                other = _namesake(declared, live, difference)
                if other is None:
                    yield Judged(difference, _rule(declared, difference))
                else:
                    namesakes.add(other)
                    words = f"it is named {other.name}"
                    yield Judged(replace(difference, words=words, missing=False), Weight.HARMLESS)
            case Kind.EXTRA:
                if difference.extra not in namesakes:
                    yield _extra(declared, difference)
            case _:
                yield Judged(difference, Weight.SERIOUS)


def _columns(declared: Table, live: Table, difference: Difference) -> tuple[Column, Column]:
    wanted, found = declared.column(difference.name), live.column(difference.name)
    assert wanted is not None
    assert found is not None
    return wanted, found


def _type(wanted: Column, found: Column, dialect: Dialect) -> Weight:
    match wanted.type, found.type:
        case Time(), Time():
            return Weight.HARMLESS
        case (Enum(), Text()) | (Json(), Text() | Other("JSON")) if dialect.checks_enum_and_json:
            return Weight.MENDABLE
        case (Varchar() | Text(), Varchar() | Text()) if not dialect.enforces_length:
            return Weight.HARMLESS
        case Varchar(wanted_length), Varchar(length) if length > wanted_length:
            return Weight.HARMLESS
        case _:
            return Weight.SERIOUS


def _default(wanted: Column, found: Column) -> Weight:
    both_now = isinstance(wanted.default, Now) and isinstance(found.default, Now)
    return Weight.HARMLESS if both_now or wanted.default is None else Weight.SERIOUS


def _key(declared: Table, live: Table, difference: Difference) -> Weight:
    wanted, found = declared.foreign_key(difference.name), live.foreign_key(difference.name)
    if wanted is None or found is None or not found.validated:
        return Weight.SERIOUS
    same_target = (wanted.parent, wanted.parent_column) == (found.parent, found.parent_column)
    # An id never changes, so what an update would do is never done.
    known_update = found.on_update in ("CASCADE", "NO ACTION", "RESTRICT")
    # Ours never delete a parent whose children are to stay; CASCADE takes more from those who do.
    same_delete = wanted.on_delete == found.on_delete or (
        wanted.on_delete == "RESTRICT" and found.on_delete in ("CASCADE", "NO ACTION")
    )
    return Weight.HARMLESS if same_target and known_update and same_delete else Weight.SERIOUS


def _namesake(declared: Table, live: Table, difference: Difference) -> Index | Check | None:
    """Return what does the work of a missing index or check under another name, if anything does."""
    if not difference.missing:
        return None
    if difference.kind is Kind.INDEX:
        index = declared.index(difference.name)
        assert index is not None
        for other in live.indexes:
            if other.valid and (other.columns, other.unique) == (index.columns, index.unique):
                return other
        return None
    check = declared.check(difference.name)
    assert check is not None
    for rule in live.checks:
        if canonical(rule.expression) == canonical(check.expression):
            return rule
    return None


def _rule(declared: Table, difference: Difference) -> Weight:
    index = declared.index(difference.name) if difference.kind is Kind.INDEX else None
    if not difference.missing or (index is not None and index.unique):
        return Weight.SERIOUS
    return Weight.MENDABLE


def _extra(declared: Table, difference: Difference) -> Judged:
    match difference.extra:
        case Column(name, _, False, None):
            words = f"a column {name} that is not ours, and that no insert of ours would fill"
            return Judged(replace(difference, words=words), Weight.SERIOUS)
        case Index(_, columns, True) if _refuses_rows(declared, columns):
            return Judged(difference, Weight.SERIOUS)
        case ForeignKey(_, column) if declared.column(column) is not None:
            return Judged(difference, Weight.SERIOUS)
        case _:
            return Judged(difference, Weight.HARMLESS)


def _refuses_rows(declared: Table, columns: tuple[str, ...]) -> bool:
    """Return whether a unique index over these columns refuses rows that the declared table takes."""
    if any(declared.column(column) is None for column in columns):
        return False
    unique = [{"id"}, *(set(index.columns) for index in declared.indexes if index.unique)]
    return not any(already <= set(columns) for already in unique)
