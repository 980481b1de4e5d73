"""What a database has of each revision, whether its history records it or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from engagement_db.schema.compare import added
from engagement_db.schema.revision import Revision, stages
from engagement_db.schema.severity import ClassifiedDifference, Severity, equivalent, judge
from engagement_db.schema.simulate import Simulation
from engagement_db.schema.steps import RequireTables
from engagement_db.servers import Catalog
from engagement_db.tables import Column, Enum, Table, covers


class RevisionState(StrEnum):
    """How much of a revision a database has."""

    NOT_PRESENT = "not present"
    MATCHES = "matches"
    HARMLESS = "matches with harmless differences"
    PARTIAL = "partially present"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True)
class Finding:
    """What a database has of one revision.

    ``recorded``: the history lists the revision. ``requirements``: what the platform's tables lack for
    it; ``lacks_tables``: one of them is not there at all. ``conflicts``: other objects for which it cannot be applied.
    """

    revision: str
    recorded: bool
    state: RevisionState
    differences: tuple[ClassifiedDifference, ...] = ()
    requirements: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    lacks_tables: bool = False

    @property
    def is_any_present(self) -> bool:
        """Whether anything that the revision creates exists."""
        return bool(self.differences) or self.is_present

    @property
    def is_present(self) -> bool:
        """Whether everything that the revision creates exists in a form that works."""
        return self.state in (RevisionState.MATCHES, RevisionState.HARMLESS)

    @property
    def is_fixable(self) -> bool:
        """Whether `adopt --align` makes a change without which the revision fails."""
        breaking = [item for item in self.differences if item.is_breaking]
        return any(item.severity is Severity.FIXABLE for item in breaking)

    @property
    def is_exact(self) -> bool:
        """Whether all that exists of the revision is as it creates it, so that it may have created it."""
        is_as_declared = all(item.difference.missing for item in self.differences)
        return self.state is not RevisionState.NOT_PRESENT and not self.conflicts and is_as_declared


def inspect(simulation: Simulation) -> tuple[Finding, ...]:
    """Return what the database has of each revision, in order. Reads only.

    Reads whole tables where a check, a unique index or NOT NULL is missing.
    """
    tables = stages(simulation.revisions)
    return tuple(
        _inspect(revision, tables[number], tables[number + 1], simulation)
        for number, revision in enumerate(simulation.revisions)
    )


def _inspect(
    revision: Revision, before: Mapping[str, Table], after: Mapping[str, Table], simulation: Simulation
) -> Finding:
    catalog, server = simulation.before(revision), simulation.server
    requirements, conflicts = [], []
    lacks_tables = False
    for step in revision.steps:
        sentences = list(step.conflicts(catalog, server))
        if isinstance(step, RequireTables):
            requirements += sentences
            lacks_tables = lacks_tables or step.is_any_missing(catalog)
            before = step.declared(before)
        else:
            conflicts += sentences
    parts = [added(before.get(table.name), table) for table in after.values() if before.get(table.name) != table]
    found: list[ClassifiedDifference] = []
    is_any_present = any(_is_any_present(part, before.get(part.name), catalog) for part in parts)
    finding = Finding(revision.name, revision.name in simulation.applied, RevisionState.NOT_PRESENT)
    if finding.recorded and not is_any_present:
        # A text column that takes any label does not show whether a revision added one.
        is_any_present = not any(True for step in revision.steps for _ in step.changes(catalog, server))
    if not is_any_present and requirements:
        return replace(finding, requirements=tuple(requirements), lacks_tables=lacks_tables)
    if is_any_present:
        for part in parts:
            found += judge(part, catalog, server, is_whole=part.name not in before)
    return replace(
        finding,
        state=_state(is_any_present, found, [*requirements, *conflicts]),
        differences=tuple(found),
        requirements=tuple(requirements),
        conflicts=tuple(sentence for sentence in conflicts if sentence not in {item.unmarked for item in found}),
    )


def _state(is_any_present: bool, found: Sequence[ClassifiedDifference], conflicts: Sequence[str]) -> RevisionState:
    if conflicts:
        return RevisionState.INCOMPATIBLE
    if not is_any_present:
        return RevisionState.NOT_PRESENT
    if any(item.is_breaking for item in found):
        return RevisionState.PARTIAL
    return RevisionState.HARMLESS if found else RevisionState.MATCHES


def _has_type(found: Column, column: Column) -> bool:
    match found.type, column.type:
        case Enum(labels), Enum(wanted):
            return covers(labels, wanted)
        case _:
            return found.type == column.type


def _is_any_present(part: Table, before: Table | None, catalog: Catalog) -> bool:
    """Return whether the live table has anything of what the revision adds."""
    live = catalog.table(part.name)
    if live is None or before is None:
        return live is not None
    for column in part.columns:
        found = live.column(column.name)
        if found is not None and (before.column(column.name) is None or _has_type(found, column)):
            return True
    return (
        any(live.foreign_key(key.column) for key in part.foreign_keys)
        or any(equivalent(index, live) for index in part.indexes)
        or any(equivalent(check, live) for check in part.checks)
    )
