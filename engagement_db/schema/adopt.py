"""Taking over a database that another tool migrated: look, judge, and record what is there.

Nothing is believed and no table is touched. A revision is recorded as applied when everything that
it would have made is there, in a shape that serves every row and every query of ours; otherwise the
reasons are returned, and nothing at all is recorded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import peewee

from engagement_db import ddl
from engagement_db.dialects import Dialect
from engagement_db.schema import history, runner
from engagement_db.schema.catalog import Catalog
from engagement_db.schema.difference import Difference, Kind, differences
from engagement_db.schema.judgement import Judged, Weight, judged
from engagement_db.schema.lock import TIMEOUT_SECONDS, exclusive
from engagement_db.schema.revision import Report, Revision, Run, logger
from engagement_db.schema.steps import AddCheck, AddIndex, RequireTables
from engagement_db.tables import Check, Table

Tables = Mapping[str, Table]


class State(StrEnum):
    """How much of a revision a database has."""

    ABSENT = "not there"
    EQUAL = "there and equal"
    HARMLESS = "there, with harmless differences"
    PARTLY = "partly there"
    INCOMPATIBLE = "there, and not compatible"


@dataclass(frozen=True)
class Finding:
    """What a database has of one revision; ``recorded`` says that its history has it already."""

    revision: str
    recorded: bool
    state: State
    differences: tuple[Judged, ...]

    @property
    def is_there(self) -> bool:
        """Whether the revision may stand in the history."""
        return self.state in (State.EQUAL, State.HARMLESS)

    @property
    def refuses(self) -> bool:
        """Whether nothing may be recorded because of this revision."""
        return self.state in (State.PARTLY, State.INCOMPATIBLE) or (self.recorded and not self.is_there)


@dataclass(frozen=True)
class Adoption:
    """What was found, which revisions were recorded and what was aligned; in a dry run, what would be."""

    findings: tuple[Finding, ...]
    adopted: tuple[str, ...]
    aligned: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether a revision stood in the way, so that nothing was recorded."""
        return any(finding.refuses for finding in self.findings)


def look(database: peewee.Database, directory: Path | None = None) -> tuple[Finding, ...]:
    """Return what the database has of each revision, in order. Reads only.

    Where a check is missing the whole table is read, to count the rows that break it. Raises
    HistoryError when the history names what this code does not know.
    """
    standing = runner.status(database, directory)
    standing.refuse_doubt()
    run = Run(database)
    revisions = runner.load(directory)
    stages: list[Tables] = []
    for revision in revisions:
        stages.append(revision.declared(stages[-1] if stages else {}))
    found = []
    for number, revision in enumerate(revisions):
        before = stages[number - 1] if number else {}
        state, differences = _state(run, revision, before, stages[number:])
        found.append(Finding(revision.name, revision.name in standing.applied, state, differences))
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
    """Record every revision that is there as applied, unless one is there by half or in another shape.

    ``align`` then adds the indexes and the checks that are missing, those checks only that every
    row holds. ``dry_run`` takes no lock and writes nothing. Waits for other deployers as ``migrate``
    does; raises MigrationBusy, HistoryError or, while aligning, StepFailed: what was recorded stays
    recorded (on SQLite nothing does), and the same call goes on from there.
    """
    if dry_run:
        return _plan(database, align, directory)[0]
    with exclusive(database, lock_timeout_seconds):
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
    findings = look(database, directory)
    if any(finding.refuses for finding in findings):
        return Adoption(findings, (), ()), []
    there = {finding.revision for finding in findings if finding.is_there}
    adopted = tuple(finding.revision for finding in findings if finding.is_there and not finding.recorded)
    revisions = [revision for revision in runner.load(directory) if revision.name in there]
    steps = list(_alignments(Run(database), revisions)) if align else []
    return Adoption(findings, adopted, tuple(step.title for step in steps)), steps


def _alignments(run: Run, revisions: Sequence[Revision]) -> Iterator[AddIndex | AddCheck]:
    for name, declared in runner.declared(revisions).items():
        for item in judged(declared, run.catalog.table(name), run.dialect):
            if _weighed_by_rows(run, declared, item).weight is Weight.MENDABLE:
                check = _missing_check(run.dialect, declared, item.difference)
                index = declared.index(item.difference.name)
                if check is not None:
                    yield AddCheck(name, check)
                elif index is not None:
                    yield AddIndex(name, index)


def _state(run: Run, revision: Revision, before: Tables, stages: Sequence[Tables]) -> tuple[State, tuple[Judged, ...]]:
    required = [step for step in revision.steps if isinstance(step, RequireTables)]
    for step in required:
        before = step.declared(before)
    changed = [shape for name, shape in stages[0].items() if before.get(name) != shape]
    brought = {shape.name: _brought(before.get(shape.name), shape) for shape in changed}
    live = {name: run.catalog.table(name) for name in brought}
    if not any(_is_there(part, before.get(name), live[name]) for name, part in brought.items()):
        return State.ABSENT, ()
    found = [
        Judged(Difference(revision.name, Kind.TABLE, revision.name, words), Weight.SERIOUS)
        for step in required
        for words in step.conflicts(run.catalog, run.dialect)
    ]
    for name, part in brought.items():
        later = [stage[name] for stage in stages[1:]]
        found += _judged(run, part, live[name], later, is_whole=name not in before)
    serious = [item.difference for item in found if item.weight is Weight.SERIOUS]
    if not serious:
        return (State.HARMLESS if found else State.EQUAL), tuple(found)
    # What a step of ours makes apart from the rest may still come; a table is never filled up.
    to_come = (item.missing and (item.kind is Kind.TABLE or item.table in before) for item in serious)
    return (State.PARTLY if all(to_come) else State.INCOMPATIBLE), tuple(found)


def _brought(before: Table | None, after: Table) -> Table:
    """Return what a revision adds to a table, or changes in it."""
    if before is None:
        return after
    return Table(
        after.name,
        tuple(column for column in after.columns if column not in before.columns),
        tuple(key for key in after.foreign_keys if key not in before.foreign_keys),
        tuple(index for index in after.indexes if index not in before.indexes),
        tuple(check for check in after.checks if check not in before.checks),
    )


def _is_there(part: Table, before: Table | None, live: Table | None) -> bool:
    """Return whether the live table has any of what the revision brings."""
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


def _judged(run: Run, part: Table, live: Table | None, later: Sequence[Table], *, is_whole: bool) -> Iterator[Judged]:
    # What a later revision of ours changes is no difference of this one.
    open_later = [{difference.name for difference in differences(shape, live)} for shape in later]
    for item in judged(part, live, run.dialect):
        if item.difference.kind is Kind.EXTRA and not is_whole:
            continue
        if all(item.difference.name in names for names in open_later):
            yield _weighed_by_rows(run, part, item)
    if is_whole and live is not None:
        yield from _collations(run.catalog, run.dialect, part.name)


def _collations(catalog: Catalog, dialect: Dialect, table: str) -> Iterator[Judged]:
    for collation in catalog.collations(table):
        if dialect.charset is not None and not collation.startswith(dialect.charset):
            words = (
                f"text is kept as {collation}, which has no room for every character; "
                f"ALTER TABLE {table} CONVERT TO CHARACTER SET {dialect.charset}"
            )
            yield Judged(Difference(table, Kind.TYPE, table, words), Weight.SERIOUS)
        elif not collation.endswith("_bin"):
            words = f"text is compared as {collation} says, not letter by letter: 'a' may equal 'A'"
            yield Judged(Difference(table, Kind.TYPE, table, words), Weight.HARMLESS)


def _missing_check(dialect: Dialect, declared: Table, difference: Difference) -> Check | None:
    """Return the check that a difference is about: a missing one, or that of a type which is one on this server."""
    column = declared.column(difference.name)
    if difference.kind is Kind.TYPE and column is not None:
        return next(ddl.type_checks(dialect, declared.name, column), None)
    return declared.check(difference.name) if difference.kind is Kind.CHECK else None


def _weighed_by_rows(run: Run, declared: Table, item: Judged) -> Judged:
    """Return the difference, weighed anew where rows break the check that is missing."""
    check = _missing_check(run.dialect, declared, item.difference)
    if item.weight is not Weight.MENDABLE or check is None:
        return item
    rows = run.catalog.count_breaking(declared.name, check.expression)
    if not rows:
        return item
    words = f"{item.difference.words}, and {rows:,} rows break it"
    # A type that rows break cannot be read; a rule that they break was broken before us.
    weight = Weight.SERIOUS if item.difference.kind is Kind.TYPE else Weight.HARMLESS
    return Judged(replace(item.difference, words=words), weight)


def as_data(adoption: Adoption) -> dict[str, Any]:
    """Return the adoption as plain lists, dicts and strings, for JSON."""
    return {
        "revisions": [
            {
                "revision": finding.revision,
                "recorded": finding.recorded,
                "state": finding.state.name.lower(),
                "differences": [
                    {
                        "table": item.difference.table,
                        "kind": str(item.difference.kind),
                        "name": item.difference.name,
                        "words": item.difference.words,
                        "weight": str(item.weight),
                        "harmless": item.weight is not Weight.SERIOUS,
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


def told(adoption: Adoption, dry_run: bool) -> str:
    """Return the adoption in words, with what to do next."""
    lines = []
    for finding in adoption.findings:
        known = "; recorded as applied" if finding.recorded else ""
        lines.append(f"{finding.revision}: {finding.state}{known}")
        lines += [f"  - {item}" for item in finding.differences]
    return "\n".join([*lines, *_next(adoption, dry_run)])


def _next(adoption: Adoption, dry_run: bool) -> Iterator[str]:
    if adoption.refused:
        yield "Nothing was recorded."
        if any(finding.state is State.PARTLY for finding in adoption.findings):
            yield "Partly there: if a migration of ours stopped on the way, `engagement-db migrate` finishes it."
        if any(finding.state is State.INCOMPATIBLE for finding in adoption.findings):
            yield "Not compatible: mend the lines above that do not end in (harmless) or (mendable), then adopt again."
        if any(finding.recorded and finding.state is State.ABSENT for finding in adoption.findings):
            yield f"Recorded but not there: take its row out of {history.TABLE}, then adopt again."
        return
    if adoption.adopted:
        yield f"{'Would record' if dry_run else 'Recorded'} as applied: {', '.join(adoption.adopted)}."
    else:
        yield "Nothing to record."
    if adoption.aligned and dry_run:
        yield f"Would align: {', '.join(adoption.aligned)}."
    elif adoption.aligned:
        yield f"Aligned {len(adoption.aligned)} of the (mendable) differences."
    absent = [finding.revision for finding in adoption.findings if finding.state is State.ABSENT]
    if absent:
        yield f"Still to be applied, by `engagement-db migrate`: {', '.join(absent)}."
