"""With one user, one provider and one status in nine rows of ten, every listing still reads little of its table."""

import math
from collections.abc import Iterator
from typing import Any

import peewee
import pytest
import servers
from plans import SCALE, copy, document, label, plans_of, refresh_statistics

import engagement_db as edb
from engagement_db import DisputeCase, DisputeEvent, EscrowAccount, EscrowTransaction, Project, User
from engagement_db.orm.models import verb_update

PEOPLE = math.isqrt(102_400 * SCALE)
ROWS = PEOPLE * PEOPLE
FEW_ROWS = ROWS // 100
# PostgreSQL has the order of ids in no index but the primary key, so it may read past the newer rows of others.
NEWER_ROWS = ROWS // 10
NOW = edb.now().replace(microsecond=0)


@pytest.fixture(scope="module")
def skewed_url(server: servers.Server) -> Iterator[str]:
    """The URL of a database with some 100,000 transactions, 90 % of them of the first user, and as many cases."""
    server.start()
    url = server.create_database()
    database = edb.connect(url)
    with database.connection_context():
        database.create_tables(edb.MODELS)
        with database.atomic():
            fill()
        refresh_statistics(server.name, database)
    yield url
    server.start()
    server.drop_database(url)


@pytest.fixture
def skewed(server: servers.Server, skewed_url: str) -> Iterator[peewee.Database]:
    server.start()
    database = edb.connect(skewed_url)
    with database.connection_context():
        yield database


def mostly(number: Any, usual: Any, rare: Any) -> Any:
    """One value in nine rows of ten, and in the last tenth of them another."""
    return peewee.Case(None, [(number < PEOPLE * 9 // 10, usual)], rare)


def fill() -> None:
    """The last rows are those of the many; the first are all of the one."""
    User.insert_many({"first_name": "A", "last_name": "B", "email": f"{number}"} for number in range(PEOPLE)).execute()
    first = User.select(peewee.fn.MIN(User.id)).scalar()
    one, many = User.alias("one"), User.alias("many")
    pairs = one.select().join(many, on=(many.id >= first))
    number = one.id - first
    copy(User.select(User.email, User.id), Project, "title owner")
    provider = mostly(User.id - first, peewee.SQL("'stripe'"), peewee.SQL("'paypal'"))
    status = mostly(User.id - first, label(EscrowAccount.status, "active"), label(EscrowAccount.status, "suspended"))
    copy(User.select(User.id, provider, status).order_by(User.id), EscrowAccount, "user provider status")
    account = EscrowAccount.select(peewee.fn.MIN(EscrowAccount.id)).scalar()
    project = Project.select(peewee.fn.MIN(Project.id)).scalar()
    person = mostly(number, peewee.SQL(str(first)), many.id)
    copy(
        pairs.select(
            mostly(number, peewee.SQL(str(account)), many.id - first + account),
            number * PEOPLE + many.id,
            mostly(number, label(EscrowTransaction.status, "released"), label(EscrowTransaction.status, "disputed")),
            peewee.SQL("100"),
            peewee.SQL("100"),
            person,
            mostly(number, peewee.SQL(str(first)), many.id),
            mostly(number, peewee.SQL(str(project)), many.id - first + project),
        ).order_by(one.id, many.id),
        EscrowTransaction,
        "account reference status amount net_amount initiated_by counterparty project",
    )
    row = EscrowTransaction
    is_usual = row.status == "released"
    case = (
        row.select(
            row.id,
            row.initiated_by,
            row.initiated_by,
            *(
                peewee.Case(None, [(is_usual, label(field, usual))], label(field, rare))
                for field, usual, rare in (
                    (DisputeCase.status, "settled", "under_review"),
                    (DisputeCase.stage, "resolved", "mediation"),
                    (DisputeCase.priority, "low", "urgent"),
                )
            ),
            peewee.SQL("'late'"),
            peewee.SQL("'No parcel.'"),
        )
    ).order_by(row.id)
    copy(
        case,
        DisputeCase,
        "escrow_transaction opened_by assigned_to status stage priority reason_code summary",
    )
    # A user who opened the oldest cases and none since.
    early = User.create(first_name="A", last_name="B", email="early")
    oldest = DisputeCase.select(peewee.fn.MIN(DisputeCase.id)).scalar()
    verb_update(DisputeCase, {"opened_by": early}).where(DisputeCase.id < oldest + 20).execute()
    copy(DisputeCase.select(DisputeCase.id, document('{"system":true}')), DisputeEvent, "dispute_case metadata")


@pytest.fixture
def rows(skewed: peewee.Database) -> dict[str, Any]:
    return known_rows()


def known_rows() -> dict[str, Any]:
    """The one user who has most rows, somebody with few, and rows of both."""
    few = EscrowTransaction.select().order_by(EscrowTransaction.id.desc()).get()
    return {
        "one": User.select().order_by(User.id).get(),
        "early": User.get(User.email == "early"),
        "few": User.get_by_id(few.initiated_by_id),
        "row of one": EscrowTransaction.select().order_by(EscrowTransaction.id).get(),
        "row of few": few,
    }


def test_the_rows_are_skewed(skewed):
    assert EscrowTransaction.select().count() == DisputeCase.select().count() == ROWS
    assert EscrowTransaction.select().where(EscrowTransaction.status == "released").count() == ROWS * 9 // 10


def both(name: str) -> dict[str, Any]:
    """The filter by the one user and by somebody with few rows."""
    return {
        f"transactions {name} one": lambda rows, after: edb.list_transactions(**{name: rows["one"]}, after=after),
        f"transactions {name} few": lambda rows, after: edb.list_transactions(**{name: rows["few"]}, after=after),
    }


LISTINGS = {
    "accounts": lambda rows, after: edb.list_accounts(after=after),
    "accounts user": lambda rows, after: edb.list_accounts(user=rows["few"], after=after),
    "accounts provider": lambda rows, after: edb.list_accounts(provider="stripe", after=after),
    "accounts status": lambda rows, after: edb.list_accounts(status="suspended", after=after),
    "transactions": lambda rows, after: edb.list_transactions(after=after),
    **both("initiated_by"),
    **both("counterparty"),
    "transactions account one": lambda rows, after: edb.list_transactions(
        account=rows["row of one"].account_id, after=after
    ),
    "transactions account few": lambda rows, after: edb.list_transactions(
        account=rows["row of few"].account_id, after=after
    ),
    "transactions owner few": lambda rows, after: edb.list_transactions(owner=rows["few"], after=after),
    "transactions project one": lambda rows, after: edb.list_transactions(
        project=rows["row of one"].project_id, after=after
    ),
    "cases": lambda rows, after: edb.list_cases(after=after),
    "cases settled": lambda rows, after: edb.list_cases(status="settled", after=after),
    "cases resolved": lambda rows, after: edb.list_cases(stage="resolved", after=after),
    "cases low": lambda rows, after: edb.list_cases(priority="low", after=after),
    "cases assigned one": lambda rows, after: edb.list_cases(assigned_to=rows["one"], after=after),
    "cases assigned few": lambda rows, after: edb.list_cases(assigned_to=rows["few"], after=after),
    "cases party few": lambda rows, after: edb.list_cases(party=rows["few"], after=after),
    "cases party early": lambda rows, after: edb.list_cases(party=rows["early"], after=after),
    "timeline": lambda rows, after: edb.case_timeline(DisputeCase.select().order_by(DisputeCase.id).get(), after=after),
}


@pytest.mark.parametrize("listing", LISTINGS.values(), ids=LISTINGS)
def test_a_listing_reads_little_on_the_first_page_and_the_next(server, skewed, rows, listing):
    page = listing(rows, None)
    cursor = page.next_cursor
    most = FEW_ROWS + (NEWER_ROWS if server.name == "postgres" else 0)
    for after in (None, cursor) if cursor else (None,):
        for plan in plans_of(server.name, skewed, lambda after=after: list(listing(rows, after))):
            assert plan.rows_read <= most


def test_the_beginning_of_a_reference_is_looked_up_in_the_index_of_references(server, skewed):
    most = FEW_ROWS
    if server.name == "postgres":
        collation = skewed.execute_sql("SELECT datcollate FROM pg_database WHERE datname = current_database()")
        # Another collation than C does not keep the texts of one beginning together.
        most += 0 if collation.fetchone()[0] in ("C", "POSIX") else ROWS
    (plan,) = plans_of(server.name, skewed, lambda: list(edb.list_cases(reference_prefix="1023")))
    assert plan.rows_read <= most
    assert plan.rows_sorted <= FEW_ROWS or server.name == "sqlite"
    if most == FEW_ROWS:
        assert "escrow_transactions_reference" in plan.indexes
        assert plan.scanned_tables == set()
