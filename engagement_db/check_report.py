"""What `engagement-db check` says about one database."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import peewee

from engagement_db import MODELS, servers
from engagement_db.orm.connect import bind_ctx
from engagement_db.problems import Problem
from engagement_db.row_check import find_all_odd_values, find_problems
from engagement_db.schema import runner
from engagement_db.schema.check import Drift, detect_drift, find_lagging_sequences
from engagement_db.schema.compare import Kind
from engagement_db.schema.history import MigrationStatus
from engagement_db.schema.revision import declared


@dataclass(frozen=True)
class CheckReport:
    """The migration history, the differences, the sequences that lag, and the problems in rows (None: not read)."""

    status: MigrationStatus
    drift: tuple[Drift, ...]
    sequences: Sequence[str]
    problems: Sequence[Problem] | None

    @property
    def actionable(self) -> int:
        """How many differences need action."""
        return sum(not drift.harmless for drift in self.drift)

    @property
    def exit_code(self) -> int:
        """The exit code of the command: 0, 1 if something is left to do, 2 if the history is in error."""
        if self.status.problems:
            return 2
        is_left = self.actionable or self.status.pending or self.sequences or self.problems
        return 1 if is_left else 0

    def as_data(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        drift = [
            {
                "table": drift.classified.difference.table,
                "kind": str(drift.classified.difference.kind),
                "name": drift.classified.difference.name,
                "message": drift.classified.message,
                "declared_by": drift.declared_by,
                "harmless": drift.harmless,
            }
            for drift in self.drift
        ]
        return {
            "drift": drift,
            "actionable": self.actionable,
            "sequences": self.sequences,
            "problems": None if self.problems is None else [_problem_data(problem) for problem in self.problems],
            "pending": self.status.pending,
            "unknown": self.status.unknown,
            "duplicates": self.status.duplicates,
        }

    def lines(self, with_rows: bool) -> Iterator[str]:
        """Yield the report as lines of text; ``with_rows`` says whether rows were to be checked."""
        for drift in self.drift:
            yield f"- {drift}"
        yield self._summary()
        for sentence in self.sequences:
            yield f"- {sentence}"
        for problem in self.problems or ():
            yield f"- {problem}"
        if self.problems or with_rows:
            yield self._rows_summary()
        if self.actionable and not self.status.pending:
            yield self._advice()
        if self.status.pending:
            yield f"Pending: {', '.join(self.status.pending)}. Run `engagement-db migrate`."
        yield from self.status.problems

    def _summary(self) -> str:
        harmless = len(self.drift) - self.actionable
        if self.actionable:
            return f"{_counted(self.actionable, 'actionable difference')}, {harmless} harmless."
        ending = f", with {_counted(harmless, 'harmless difference')}." if harmless else "."
        return f"Schema matches the revisions and the models{ending}"

    def _advice(self) -> str:
        if any(drift.is_fixable for drift in self.drift):
            return "Run `engagement-db adopt --align`."
        return "Run `engagement-db adopt`: it lists the statements to run."

    def _rows_summary(self) -> str:
        if self.problems is None:
            return "Rows were not checked, because tables or columns are missing."
        return f"{_counted(len(self.problems), 'problem')} in rows." if self.problems else "No problems in rows."


def check_database(database: peewee.Database, *, with_rows: bool = False) -> CheckReport:
    """Compare a database with the revisions and the models, and look at its sequences; changes nothing.

    ``with_rows`` checks all rows too. On SQLite values in another form are looked for in any case. Reads the catalog
    of each table once.
    """
    contract = declared(runner.load())
    drift = detect_drift(database, contract, [model.declared() for model in MODELS])
    lost = (Kind.TABLE, Kind.COLUMN)
    is_whole = not any(item.classified.difference.kind in lost for item in drift if not item.harmless)
    return CheckReport(
        runner.status(database),
        drift,
        find_lagging_sequences(database, contract),
        _problems_in_rows(database, with_rows) if is_whole else None,
    )


def _problems_in_rows(database: peewee.Database, everything: bool) -> list[Problem]:
    with bind_ctx(database):
        if everything:
            return find_problems()
        return find_all_odd_values() if servers.of(database).stores_time_as_text else []


def _problem_data(problem: Problem) -> dict[str, Any]:
    values = {name: None if value is None else str(value) for name, value in vars(problem).items()}
    return {**values, "id": problem.id, "cure": problem.cure}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
