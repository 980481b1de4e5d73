"""Labels that a later migration of the platform added are counted as what they are, and never taken for a mistake."""

from collections.abc import Iterator
from typing import Any

import escrow
import peewee
import pytest
import servers
from tampering import tamper

import engagement_db as edb
from engagement_db import ProblemKind

ADDED = {
    "escrow_transactions": {"status": "held", "type": "invoice"},
    "escrow_accounts": {"status": "frozen"},
    "dispute_cases": {"stage": "appeal"},
    "dispute_events": {"actorType": "robot"},
}


@pytest.fixture
def any_label(server: servers.Server, url: str) -> Iterator[peewee.Database]:
    """A database whose columns take labels that the models do not know."""
    database = edb.connect(url)
    with database.connection_context():
        database.create_tables(edb.MODELS)
        if server.name == "sqlite":
            database.execute_sql("PRAGMA ignore_check_constraints = ON")
        else:
            for model in edb.MODELS:
                for column, label in ADDED.get(model._meta.table_name, {}).items():
                    database.execute_sql(statement_that_adds(label, model, column, server.name))
        yield database


def statement_that_adds(label: str, model: Any, column: str, name: str) -> str:
    table = model._meta.table_name
    if name == "postgres":
        return f"ALTER TYPE \"enum_{table}_{column}\" ADD VALUE '{label}'"
    field = next(field for field in model._meta.sorted_fields if field.column_name == column)
    labels = ", ".join(f"'{known}'" for known in [*field.enum_class, label])
    return f"ALTER TABLE {table} MODIFY `{column}` ENUM({labels}) NOT NULL DEFAULT '{field.default}'"


def write_label(row: Any, column: str, label: str) -> None:
    database = row._meta.database
    left, right = database.quote
    table = row._meta.table_name
    database.execute_sql(f"UPDATE {table} SET {left}{column}{right} = '{label}' WHERE id = {row.id}")


def test_an_unknown_label_is_reported_once_with_its_rows_counted(any_label):
    home = escrow.account()
    rows = [escrow.payment_in("in_escrow", home) for _ in range(3)]
    case = escrow.dispute(escrow.payment_in("funded"))
    event = case.events.get()
    for row in rows[:2]:
        write_label(row, "status", "held")
    write_label(rows[2], "type", "invoice")
    write_label(home, "status", "frozen")
    write_label(case, "stage", "appeal")
    write_label(event, "actorType", "robot")
    problems = edb.find_problems()
    assert {p.kind for p in problems} == {ProblemKind.UNKNOWN_LABEL}
    assert sorted((p.table, p.id, p.column, p.found) for p in problems) == [
        ("dispute_cases", case.id, "stage", "appeal (in 1 rows)"),
        ("dispute_events", event.id, "actorType", "robot (in 1 rows)"),
        ("escrow_accounts", home.id, "status", "frozen (in 1 rows)"),
        ("escrow_transactions", rows[0].id, "status", "held (in 2 rows)"),
        ("escrow_transactions", rows[2].id, "type", "invoice (in 1 rows)"),
    ]


def test_money_under_an_unknown_status_may_be_held_or_not(any_label):
    home = escrow.account()
    rows = [escrow.payment_in("in_escrow", home) for _ in range(2)]
    write_label(rows[0], "status", "held")
    for balance, pending, is_right in ((100, 90, True), (200, 180, True), (99, 90, False), (201, 180, False)):
        tamper(home, current_balance=balance, pending_release_total=pending)
        found = [p for p in edb.find_problems() if p.kind == ProblemKind.BALANCE]
        assert (found == []) is is_right
    assert found[0].expected == "100.0000 to 200.0000"
