"""Adoption of a database that another tool migrated: what it has is recorded as applied.

Other tools call this baselining (Flyway, Prisma) or stamping (Alembic). Adoption verifies the live
schema; it alters tables only with ``align``. A revision is recorded when everything that it creates
exists in a form with which every row and every query of the library works.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import peewee

from engagement_db.schema import history, runner
from engagement_db.schema.compare import (
    ClassifiedDifference,
    Difference,
    Kind,
    Severity,
    added,
    classify,
    collation_differences,
    differences,
    severity,
)
from engagement_db.schema.execute import Report, Run, logger
from engagement_db.schema.lock import TIMEOUT_SECONDS, hold_migration_lock
from engagement_db.schema.revision import Revision, declared, stages
from engagement_db.schema.steps import AddCheck, AddIndex, RequireTables
from engagement_db.servers import Server, ddl
from engagement_db.tables import Check, Column, Index, Table

Tables = Mapping[str, Table]


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

    ``recorded``: the history lists the revision. ``conflicts``: what the platform's tables lack for it.
    """

    revision: str
    recorded: bool
    state: RevisionState
    differences: tuple[ClassifiedDifference, ...] = ()
    conflicts: tuple[str, ...] = ()

    @property
    def is_present(self) -> bool:
        """Whether the revision may be recorded as applied."""
        return self.state in (RevisionState.MATCHES, RevisionState.HARMLESS)

    @property
    def blocks_adoption(self) -> bool:
        """Whether nothing may be recorded because of this revision."""
        is_broken = self.state in (RevisionState.PARTIAL, RevisionState.INCOMPATIBLE)
        return is_broken or (self.recorded and not self.is_present)


@dataclass(frozen=True)
class Adoption:
    """What was found, which revisions were recorded and what was aligned; in a dry run, what would be."""

    findings: tuple[Finding, ...]
    adopted: tuple[str, ...]
    aligned: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether a revision blocked the adoption, so that nothing was recorded."""
        return any(finding.blocks_adoption for finding in self.findings)


def inspect_revisions(database: peewee.Database, directory: Path | None = None) -> tuple[Finding, ...]:
    """Return what the database has of each revision, in order. Reads only.

    Where a check is missing, reads the whole table to count the rows that violate it. Raises
    HistoryError if the history lists unknown or duplicate revisions.
    """
    status = runner.status(database, directory)
    status.require_consistent()
    run = Run(database)
    revisions = runner.load(directory)
    tables = stages(revisions)
    found = []
    for number, revision in enumerate(revisions):
        finding = Finding(revision.name, revision.name in status.applied, RevisionState.NOT_PRESENT)
        found.append(_inspect(run, revision, finding, tables[number], tables[number + 1 :]))
    return tuple(found)


def adopt(
    database: peewee.Database,
    *,
    dry_run: bool = False,
    align: bool = False,
    directory: Path | None = None,
    lock_timeout_seconds: float = TIMEOUT_SECONDS,
    report: Report = logger.info,
) -> Adoption:
    """Record every revision that is fully present. Record none if any is partially present or incompatible.

    ``align`` then adds the missing indexes, and those missing checks that no row violates.
    ``dry_run`` takes no lock and writes nothing. Waits for other deployers as ``migrate`` does; raises
    MigrationBusy, HistoryError or, while aligning, StepFailed. What was recorded stays recorded (on
    SQLite nothing does), and the same call continues from there.
    """
    if dry_run:
        return _plan(database, align, directory)[0]
    with hold_migration_lock(database, lock_timeout_seconds):
        adoption, steps = _plan(database, align, directory)
        if adoption.adopted:
            history.create(database)
            with database.transaction():
                for name in adoption.adopted:
                    history.add(database, name)
        if steps:
            Revision("adopt --align", *steps).up(Run(database, report, lock_timeout_seconds))
    return adoption


def _plan(database: peewee.Database, align: bool, directory: Path | None) -> tuple[Adoption, list[AddIndex | AddCheck]]:
    findings = inspect_revisions(database, directory)
    if any(finding.blocks_adoption for finding in findings):
        return Adoption(findings, (), ()), []
    present = {finding.revision for finding in findings if finding.is_present}
    adopted = tuple(finding.revision for finding in findings if finding.is_present and not finding.recorded)
    revisions = [revision for revision in runner.load(directory) if revision.name in present]
    steps = list(_alignments(Run(database), revisions)) if align else []
    return Adoption(findings, adopted, tuple(step.title for step in steps)), steps


def _alignments(run: Run, revisions: Sequence[Revision]) -> Iterator[AddIndex | AddCheck]:
    for name, table in declared(revisions).items():
        for item in classify(table, run.catalog.table(name), run.server):
            if _consider_rows(run, item).severity is Severity.FIXABLE:
                check = _missing_check(run.server, item.difference)
                if check is not None:
                    yield AddCheck(name, check)
                elif isinstance(item.difference.wanted, Index):
                    yield AddIndex(name, item.difference.wanted)


def _inspect(run: Run, revision: Revision, finding: Finding, before: Tables, stages: Sequence[Tables]) -> Finding:
    required = [step for step in revision.steps if isinstance(step, RequireTables)]
    for step in required:
        before = step.declared(before)
    changed = [shape for name, shape in stages[0].items() if before.get(name) != shape]
    parts = {shape.name: added(before.get(shape.name), shape) for shape in changed}
    live = {name: run.catalog.table(name) for name in parts}
    if not any(_has_any(part, before.get(name), live[name]) for name, part in parts.items()):
        return finding
    conflicts = tuple(words for step in required for words in step.conflicts(run.catalog, run.server))
    found: list[ClassifiedDifference] = []
    for name, part in parts.items():
        later = [stage[name] for stage in stages[1:]]
        found += _classified(run, part, live[name], later, is_whole=name not in before)
    breaking = [item.difference for item in found if item.severity is Severity.BREAKING]
    if conflicts:
        state = RevisionState.INCOMPATIBLE
    elif not breaking:
        state = RevisionState.HARMLESS if found else RevisionState.MATCHES
    # A step creates such an object apart from the others; no step completes a table.
    elif all(item.missing and (item.kind is Kind.TABLE or item.table in before) for item in breaking):
        state = RevisionState.PARTIAL
    else:
        state = RevisionState.INCOMPATIBLE
    return replace(finding, state=state, differences=tuple(found), conflicts=conflicts)


def _has_any(part: Table, before: Table | None, live: Table | None) -> bool:
    """Return whether the live table has anything of what the revision adds."""
    if live is None or before is None:
        return live is not None
    for column in part.columns:
        found, old = live.column(column.name), before.column(column.name)
        if found is not None and (old is None or found.type != old.type):
            return True
    return (
        any(live.foreign_key(key.column) for key in part.foreign_keys)
        or any(live.index(index.name) for index in part.indexes)
        or any(live.check(check.name) for check in part.checks)
    )


def _classified(
    run: Run, part: Table, live: Table | None, later: Sequence[Table], *, is_whole: bool
) -> Iterator[ClassifiedDifference]:
    # What a later revision changes is no difference of this one.
    open_later = [{difference.name for difference in differences(shape, live)} for shape in later]
    for item in classify(part, live, run.server):
        if item.difference.kind is Kind.EXTRA and not is_whole:
            continue
        if all(item.difference.name in names for names in open_later):
            yield _consider_rows(run, item)
    if is_whole and live is not None:
        for difference in collation_differences(live.name, run.catalog.collations(live.name), run.server.charset):
            yield ClassifiedDifference(difference, severity(difference, part, run.server))


def _missing_check(server: Server, difference: Difference) -> Check | None:
    """Return the missing check: the declared one, or the one that stands for a type that the server lacks."""
    match difference.wanted:
        case Check() as check:
            return check
        case Column() as column if difference.kind is Kind.TYPE:
            return ddl.type_check(server, difference.table, column)
        case _:
            return None


def _consider_rows(run: Run, item: ClassifiedDifference) -> ClassifiedDifference:
    """Return the difference, with another severity if rows violate the check or unique index that is missing."""
    wanted, check = item.difference.wanted, _missing_check(run.server, item.difference)
    if item.severity is Severity.FIXABLE and isinstance(wanted, Index) and wanted.unique:
        duplicates = run.catalog.duplicate_ids(item.difference.table, wanted.columns)
        return replace(item, severity=Severity.BREAKING, duplicates=duplicates) if duplicates else item
    if item.severity is not Severity.FIXABLE or check is None:
        return item
    violations = run.catalog.count_violations(item.difference.table, check.expression)
    if not violations:
        return item
    # A value of an unknown type cannot be read; a rule that rows violate was violated before the adoption.
    worse = Severity.BREAKING if item.difference.kind is Kind.TYPE else Severity.HARMLESS
    return replace(item, severity=worse, violations=violations)


def as_data(adoption: Adoption) -> dict[str, Any]:
    """Return the adoption as plain lists, dicts and strings, for JSON."""
    return {
        "revisions": [
            {
                "revision": finding.revision,
                "recorded": finding.recorded,
                "state": str(finding.state),
                "conflicts": list(finding.conflicts),
                "differences": [
                    {
                        "table": item.difference.table,
                        "kind": str(item.difference.kind),
                        "name": item.difference.name,
                        "message": item.message,
                        "severity": str(item.severity),
                        "harmless": item.severity is not Severity.BREAKING,
                    }
                    for item in finding.differences
                ],
            }
            for finding in adoption.findings
        ],
        "refused": adoption.refused,
        "adopted": list(adoption.adopted),
        "aligned": list(adoption.aligned),
    }


def render(adoption: Adoption, dry_run: bool) -> str:
    """Return the adoption as text, with what to do next."""
    lines = []
    for finding in adoption.findings:
        recorded = "; recorded as applied" if finding.recorded else ""
        lines.append(f"{finding.revision}: {finding.state}{recorded}")
        lines += [f"  - {item}" for item in (*finding.conflicts, *finding.differences)]
    return "\n".join([*lines, *_next_steps(adoption, dry_run)])


def _next_steps(adoption: Adoption, dry_run: bool) -> Iterator[str]:
    if adoption.refused:
        yield "Nothing was recorded."
        if any(finding.state is RevisionState.PARTIAL for finding in adoption.findings):
            yield "Partially present: if an interrupted migration left it, `engagement-db migrate` finishes it."
        if any(finding.state is RevisionState.INCOMPATIBLE for finding in adoption.findings):
            yield (
                "Incompatible: fix the differences above not marked (harmless) or (fixable), "
                "then run `engagement-db adopt` again."
            )
        if any(finding.recorded and finding.state is RevisionState.NOT_PRESENT for finding in adoption.findings):
            yield (
                f"Recorded but not present: delete its row from {history.TABLE}, then run `engagement-db adopt` again."
            )
        return
    if adoption.adopted:
        yield f"{'Would record' if dry_run else 'Recorded'} as applied: {', '.join(adoption.adopted)}."
    else:
        yield "Nothing to record."
    if adoption.aligned and dry_run:
        yield f"Would align: {', '.join(adoption.aligned)}."
    elif adoption.aligned:
        yield f"Aligned {len(adoption.aligned)} of the (fixable) differences."
    pending = [finding.revision for finding in adoption.findings if finding.state is RevisionState.NOT_PRESENT]
    if pending:
        yield f"Pending: {', '.join(pending)}. Run `engagement-db migrate`."
