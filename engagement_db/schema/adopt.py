"""Adoption of a database that another tool migrated: what it has is recorded as applied.

Other tools call this baselining (Flyway, Prisma) or stamping (Alembic). Adoption verifies the live
schema; it alters tables only with ``align``. A revision is recorded when everything that it creates
exists in a form with which every row and every query of the library works.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import peewee

from engagement_db.schema import history, inspection, runner
from engagement_db.schema.align import alignments
from engagement_db.schema.compare import Kind
from engagement_db.schema.execute import Report, Run, logger
from engagement_db.schema.inspection import Finding, RevisionState
from engagement_db.schema.lock import TIMEOUT_SECONDS, hold_migration_lock
from engagement_db.schema.repair import Recipe, in_place, recipe
from engagement_db.schema.revision import LACKING, Revision, declared
from engagement_db.schema.severity import Severity
from engagement_db.schema.simulate import Simulation
from engagement_db.schema.steps import CreateTable, Step


@dataclass(frozen=True)
class Adoption:
    """What was found, which revisions were recorded and what was aligned; in a dry run, what would be.

    ``statements`` are those that a person may run to make the incompatible tables compatible where they are;
    ``recipe`` is for those that no statement makes so.
    """

    findings: tuple[Finding, ...]
    adopted: tuple[str, ...]
    aligned: tuple[str, ...]
    statements: tuple[str, ...]
    recipe: Recipe

    @property
    def refused(self) -> bool:
        """Whether a revision exists in part or in another form, so that it could not be recorded."""
        return any(
            finding.state in (RevisionState.PARTIAL, RevisionState.INCOMPATIBLE)
            or (finding.recorded and not finding.is_present)
            for finding in self.findings
        )


def inspect_revisions(database: peewee.Database, directory: Path | None = None) -> tuple[Finding, ...]:
    """Return what the database has of each revision, in order. Reads only.

    Raises HistoryError if the history lists unknown or duplicate revisions.
    """
    return inspection.inspect(_simulation(Run(database), directory))


def _simulation(run: Run, directory: Path | None) -> Simulation:
    current = runner.status(run.database, directory)
    current.require_consistent()
    return Simulation(runner.load(directory), run.server, run.catalog, current.applied)


def adopt(
    database: peewee.Database,
    *,
    dry_run: bool = False,
    align: bool = False,
    directory: Path | None = None,
    lock_timeout_seconds: float = TIMEOUT_SECONDS,
    report: Report = logger.info,
) -> Adoption:
    """Record each revision that is fully present, whatever the others are.

    ``align`` first makes the safe changes: it adds missing columns that fit the existing rows, missing
    indexes and those missing checks that no row violates, and forbids NULL where no row holds one.
    ``dry_run`` takes no lock and writes nothing. Waits for other deployers as ``migrate`` does; raises
    MigrationBusy, HistoryError or, while aligning, StepFailed. What was recorded stays recorded (on
    SQLite nothing does), and the same call continues from there.
    """
    run = Run(database, report, lock_timeout_seconds)
    if dry_run:
        return _plan(run, align, directory)[0]
    with hold_migration_lock(database, lock_timeout_seconds):
        adoption, steps = _plan(run, align, directory)
        _record(database, adoption.adopted)
        if steps:
            Revision("adopt --align", *steps).up(run)
            after, _ = _plan(run, False, directory)
            _record(database, after.adopted)
            adopted = tuple(sorted((*adoption.adopted, *after.adopted)))
            adoption = replace(after, adopted=adopted, aligned=adoption.aligned)
    return adoption


def _record(database: peewee.Database, names: Sequence[str]) -> None:
    if names:
        history.create(database)
        with database.transaction():
            for name in names:
                history.add(database, name)


def _plan(run: Run, align: bool, directory: Path | None) -> tuple[Adoption, list[Step]]:
    simulation = _simulation(run, directory)
    findings = inspection.inspect(simulation)
    adopted = tuple(finding.revision for finding in findings if finding.is_present and not finding.recorded)
    exists = {finding.revision for finding in findings if finding.is_any_present or finding.recorded}
    revisions = [revision for revision in simulation.revisions if revision.name in exists]
    steps = list(alignments(declared(revisions), run.catalog, run.server)) if align else []
    statements, remedy = _remedies(findings, simulation, run)
    return Adoption(findings, adopted, tuple(step.title for step in steps), statements, remedy), steps


def _remedies(findings: Sequence[Finding], simulation: Simulation, run: Run) -> tuple[tuple[str, ...], Recipe]:
    """Return the statements that repair in place, and the recipe for what none of them repairs."""
    created = {
        step.table.name: step.table
        for revision in simulation.revisions
        for step in revision.steps
        if isinstance(step, CreateTable)
    }
    last = declared(simulation.revisions)
    statements: list[str] = []
    left = []
    for finding in findings:
        for item in finding.differences:
            found = in_place(item, last[item.difference.table], run.catalog, run.server)
            statements += found
            is_in_the_way = item.severity is Severity.BREAKING and finding.state is RevisionState.INCOMPATIBLE
            if is_in_the_way and item.difference.kind is not Kind.TABLE and not found:
                left.append(item)
    return tuple(dict.fromkeys(statements)), recipe(left, created, run.catalog, run.server)


def as_data(adoption: Adoption) -> dict[str, Any]:
    """Return the adoption as plain lists, dicts and strings, for JSON."""
    return {
        "revisions": [
            {
                "revision": finding.revision,
                "recorded": finding.recorded,
                "state": str(finding.state),
                "requirements": list(finding.requirements),
                "conflicts": list(finding.conflicts),
                "differences": [
                    {
                        "table": item.difference.table,
                        "kind": str(item.difference.kind),
                        "name": item.difference.name,
                        "message": item.message,
                        "severity": str(item.severity),
                        "harmless": not item.is_breaking,
                    }
                    for item in finding.differences
                ],
            }
            for finding in adoption.findings
        ],
        "refused": adoption.refused,
        "adopted": list(adoption.adopted),
        "aligned": list(adoption.aligned),
        "statements": list(adoption.statements),
        "rename": list(adoption.recipe.rename),
        "copy": list(adoption.recipe.copy),
    }


def render(adoption: Adoption, dry_run: bool) -> str:
    """Return the adoption as text, with what to do next."""
    lines = []
    for finding in adoption.findings:
        recorded = "; recorded as applied" if finding.recorded else ""
        lines.append(f"{finding.revision}: {finding.state}{recorded}")
        lines += [f"  - {item}" for item in (*finding.requirements, *finding.conflicts, *finding.differences)]
    return "\n".join([*lines, *_outcome(adoption, dry_run), *_next_step(adoption)])


def _outcome(adoption: Adoption, dry_run: bool) -> Iterator[str]:
    if adoption.adopted:
        yield f"{'Would record' if dry_run else 'Recorded'} as applied: {', '.join(adoption.adopted)}."
    else:
        yield "Nothing to record."
    if adoption.aligned and dry_run:
        yield f"Would align: {', '.join(adoption.aligned)}."
    elif adoption.aligned:
        yield f"Aligned {len(adoption.aligned)} of the (fixable) differences."


def _next_step(adoption: Adoption) -> Iterator[str]:
    """Yield what to do next. It never names the same command again unless something is to be changed first."""
    incompatible = [finding for finding in adoption.findings if finding.state is RevisionState.INCOMPATIBLE]
    lost = [finding for finding in adoption.findings if finding.recorded and not finding.is_present]
    pending = [finding for finding in adoption.findings if not finding.recorded and not finding.is_present]
    lacking = [finding for finding in pending if finding.requirements]
    if any(finding.is_fixable for finding in incompatible):
        yield f"Incompatible: {_names(incompatible)}. Run `engagement-db adopt --align` to fix what is (fixable)."
    elif incompatible and adoption.statements:
        yield f"Incompatible: {_names(incompatible)}. Run these statements, with your value for each `?`:"
        yield from _listed(adoption.statements)
        yield "Then run `engagement-db adopt` again."
    elif incompatible and adoption.recipe.rename:
        yield from _renaming(_names(incompatible), adoption.recipe)
    elif incompatible:
        yield f"Incompatible: {_names(incompatible)}. Rename or drop what conflicts, then run the same command again."
    elif lost:
        yield f"Recorded but not present: {_names(lost)}. Run this statement:"
        listed = ", ".join(f"'{finding.revision}'" for finding in lost)
        yield from _listed([f"DELETE FROM {history.TABLE} WHERE name IN ({listed})"])
        yield "Then run `engagement-db migrate`."
    elif any(finding.lacks_tables for finding in lacking):
        yield "Run the platform's own migrations first, or name the database of the platform."
    elif lacking:
        yield LACKING
    elif pending:
        yield f"Pending: {_names(pending)}. Run `engagement-db migrate`."
    elif adoption.statements:
        yield "Rows violate a check, which was left out. Run these statements, with your value for each `?`:"
        yield from _listed(adoption.statements)
        yield "Then run `engagement-db adopt --align`."


def _renaming(names: str, found: Recipe) -> Iterator[str]:
    yield f"Incompatible: {names}. This server cannot change it in place. Without writers, run these statements:"
    yield from _listed(found.rename)
    yield "Then run `engagement-db migrate`."
    yield "Then run these, each INSERT until it copies no more rows, with your value for each `?`:"
    yield from _listed(found.copy)
    if found.old_tables:
        yield f"Drop {', '.join(found.old_tables)} once nothing reads them."
    yield "Then run `engagement-db adopt` again."


def _listed(statements: Iterable[str]) -> list[str]:
    return [f"    {statement};" for statement in statements]


def _names(findings: Iterable[Finding]) -> str:
    return ", ".join(finding.revision for finding in findings)
