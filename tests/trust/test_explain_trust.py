"""With 100,000 rows in a table, each query of the trust suite uses the index that its docstring names."""

from collections.abc import Iterator
from datetime import timedelta

import peewee
import pytest
import servers
from plans import SCALE, copy, document, label, plans_of, refresh_statistics

import engagement_db as edb
from engagement_db import DisputeCase, DisputeEvent, EscrowAccount, EscrowTransaction, Project, User

PEOPLE = 1_000
EACH = 100 * SCALE
ACCOUNTS = 20
ROWS = PEOPLE * EACH
FEW_ROWS = ROWS // 20

NOW = edb.now().replace(microsecond=0)


@pytest.fixture(scope="module")
def crowded_url(server: servers.Server) -> Iterator[str]:
    """The URL of a database with 100,000 transactions, as many dispute cases, and 20,000 accounts."""
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
def crowd(server: servers.Server, crowded_url: str) -> Iterator[peewee.Database]:
    server.start()
    database = edb.connect(crowded_url)
    with database.connection_context():
        yield database


def fill() -> None:
    """Each person has 20 accounts, in one of them 100 transactions, and a case over each of these."""
    User.insert_many(
        {
            "first_name": "A",
            "last_name": "B",
            "email": f"{number}@example.org",
            "created_at": NOW + timedelta(minutes=number - PEOPLE * 3 // 4),
        }
        for number in range(PEOPLE)
    ).execute()
    first_id = User.select(peewee.fn.MIN(User.id)).scalar()
    person, turn = User.alias("person"), User.alias("turn")
    times = (person.created_at, person.created_at)
    pairs = person.select().join(turn, on=(turn.id < first_id + EACH))
    copy(person.select(person.email, person.id, *times), Project, "title owner created_at updated_at")
    copy(
        pairs.where(turn.id < first_id + ACCOUNTS).select(person.id, turn.email, *times).order_by(person.id, turn.id),
        EscrowAccount,
        "user provider created_at updated_at",
    )
    status = peewee.fn.COALESCE(
        peewee.Case(
            None,
            [
                (turn.id == first_id, label(EscrowTransaction.status, "disputed")),
                (turn.id == first_id + 1, label(EscrowTransaction.status, "funded")),
                (turn.id == first_id + 2, label(EscrowTransaction.status, "in_escrow")),
            ],
        ),
        label(EscrowTransaction.status, "released"),
    )
    copy(
        pairs.join_from(
            person,
            EscrowAccount,
            on=((EscrowAccount.user == person.id) & (EscrowAccount.provider == "0@example.org")),
        )
        .join_from(person, Project, on=(Project.owner == person.id))
        .select(
            EscrowAccount.id,
            (person.id - first_id) * PEOPLE + turn.id,
            status,
            peewee.SQL("100"),
            peewee.SQL("10"),
            peewee.SQL("90"),
            person.id,
            Project.id,
            person.created_at,
            document('[{"action":"initiated","amount":100,"fee":10,"net":90,"at":"2026-01-01T00:00:00Z"}]'),
            *times,
        )
        .order_by(person.id, turn.id),
        EscrowTransaction,
        "account reference status amount fee_amount net_amount initiated_by project "
        "scheduled_release_at audit_trail created_at updated_at",
    )
    payment = EscrowTransaction
    disputed = payment.status == "disputed"
    case_status = peewee.fn.COALESCE(
        peewee.Case(
            None,
            [
                (disputed & (payment.initiated_by < first_id + 500), label(DisputeCase.status, "open")),
                (disputed, label(DisputeCase.status, "under_review")),
            ],
        ),
        label(DisputeCase.status, "settled"),
    )
    copy(
        payment.select(
            payment.id,
            payment.initiated_by,
            payment.initiated_by,
            case_status,
            peewee.SQL("'late'"),
            peewee.SQL("'Nothing came.'"),
            payment.scheduled_release_at,
            payment.created_at,
            payment.created_at,
            payment.created_at,
        ),
        DisputeCase,
        "escrow_transaction opened_by assigned_to status reason_code summary customer_deadline_at "
        "opened_at created_at updated_at",
    )
    case = DisputeCase
    copy(
        case.select(
            case.id, case.opened_by, document('{"system":true}'), case.opened_at, case.opened_at, case.opened_at
        ),
        DisputeEvent,
        "dispute_case actor metadata event_at created_at updated_at",
    )


def a_user() -> User:
    return User.select().order_by(User.id).offset(PEOPLE // 2).get()


def payment_in(status: str) -> EscrowTransaction:
    query = EscrowTransaction.select().where(EscrowTransaction.status == status)
    return query.order_by(EscrowTransaction.id).offset(PEOPLE // 2).first() or query.get()


def test_there_are_enough_rows(crowd):
    assert EscrowAccount.select().count() == PEOPLE * ACCOUNTS
    assert EscrowTransaction.select().count() == DisputeCase.select().count() == ROWS
    assert len(edb.release_queue(limit=1000)) > PEOPLE // 2
    assert DisputeCase.queue(limit=1000).count() == PEOPLE


@pytest.fixture
def known(crowd):
    return known_rows()


def known_rows():
    """A person and payments of theirs, read beforehand."""
    return {"person": a_user(), **{status: payment_in(status) for status in ("released", "in_escrow")}}


def initiate_again(known):
    with pytest.raises(edb.ReferenceConflict):
        EscrowTransaction.initiate(
            known["released"].account_id,
            reference=known["released"].reference,
            amount=1,
            initiated_by=known["person"],
        )


def dispute_and_withdraw(known):
    case = DisputeCase.open(known["in_escrow"], known["person"], "late", "Nothing came.")
    case.withdraw()


QUERIES = {
    "open": (
        lambda known: EscrowAccount.open(known["person"], "7@example.org"),
        {"escrow_accounts_user_id_provider_currency_code"},
    ),
    "initiate": (initiate_again, {"escrow_transactions_reference"}),
    "hold": (lambda known: known["in_escrow"].hold(), set()),
    "reconcile": (
        lambda known: edb.reconcile(known["in_escrow"].account_id),
        {
            "escrow_transactions_account_id",
            "dispute_cases_escrow_transaction_id",
            "dispute_events_dispute_case_id_event_at",
        },
    ),
    "release_queue": (lambda known: list(edb.release_queue()), {"escrow_transactions_status_scheduled_release_at"}),
    "release_due": (
        lambda known: edb.release_due(limit=1),
        {"escrow_transactions_status_scheduled_release_at"},
    ),
    "escrow_totals_per_owner": (
        lambda known: edb.escrow_totals_per_owner([known["person"]]),
        {"projects_owner_id_idx", "escrow_transactions_project_id"},
    ),
    "escrow_totals_per_project": (
        lambda known: edb.escrow_totals_per_project([known["released"].project_id]),
        {"escrow_transactions_project_id"},
    ),
    "open and withdraw a case": (dispute_and_withdraw, {"dispute_cases_escrow_transaction_id"}),
    "queue": (lambda known: list(DisputeCase.queue()), {"dispute_cases_status"}),
    "overdue": (lambda known: list(DisputeCase.overdue()), {"dispute_cases_status"}),
    "due_within": (lambda known: list(DisputeCase.due_within(48)), {"dispute_cases_status"}),
    "queue_for": (
        lambda known: list(DisputeCase.queue_for(known["person"])),
        {"dispute_cases_assigned_to_id"},
    ),
}


@pytest.mark.parametrize(("query", "walks"), QUERIES.values(), ids=QUERIES)
def test_a_query_uses_its_index(server, crowd, known, query, walks):
    plans = plans_of(server.name, crowd, lambda: query(known))
    assert plans
    for plan in plans:
        assert plan.scanned_tables - {"CONSTANT"} == set()
        assert plan.rows_read <= FEW_ROWS
    assert walks <= set().union(*(plan.indexes for plan in plans))


def test_the_books_are_added_up_in_one_reading_of_both_tables(server, crowd):
    plans = plans_of(server.name, crowd, edb.find_balance_problems)
    assert len(plans) == 3
    for plan in plans:
        assert plan.rows_read <= 3 * ROWS
    assert "escrow_transactions_status_scheduled_release_at" in plans[1].indexes


def test_an_overview_reads_every_transaction_once_and_else_what_is_active_or_due(server, crowd):
    totals, cases, due = plans_of(server.name, crowd, lambda: edb.trust_overview(1))
    assert totals.rows_read <= 3 * ROWS
    assert cases.indexes == {"dispute_cases_status"}
    assert due.indexes == {"escrow_transactions_status_scheduled_release_at"}
    assert cases.scanned_tables == due.scanned_tables == set()
    assert max(cases.rows_read, due.rows_read) <= FEW_ROWS


def test_a_page_of_an_audit_reads_what_belongs_to_its_transactions(server, crowd):
    plans = plans_of(server.name, crowd, lambda: next(edb.audit_trails(after=ROWS // 2, page_size=100)))
    for plan in plans:
        assert plan.scanned_tables - {"CONSTANT"} == set()
        assert plan.rows_read <= 1_000
    used = set().union(*(plan.indexes for plan in plans))
    assert used == {"dispute_cases_escrow_transaction_id", "dispute_events_dispute_case_id_event_at"}
