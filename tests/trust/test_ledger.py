"""Money moves by the legal moves alone, once each, and the books add up after every one of them."""

import decimal
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import escrow
import peewee
import pytest
from tampering import tamper
from waiting import wait_until_blocked

import engagement_db as edb
from engagement_db.testing import make_user
from engagement_db.trust import transitions

pytestmark = pytest.mark.usefixtures("database")

VERBS = ("fund", "hold", "release", "refund", "cancel")
STATUSES = ("initiated", "funded", "in_escrow", "released", "refunded", "cancelled", "disputed")
LEGAL = {
    ("initiated", "fund"): "funded",
    ("initiated", "cancel"): "cancelled",
    ("funded", "hold"): "in_escrow",
    ("funded", "release"): "released",
    ("funded", "refund"): "refunded",
    ("in_escrow", "release"): "released",
    ("in_escrow", "refund"): "refunded",
}
REPEATED = {
    ("funded", "fund"),
    ("in_escrow", "hold"),
    ("released", "release"),
    ("refunded", "refund"),
    ("cancelled", "cancel"),
}


# Worked examples


def test_a_milestone_is_paid_held_and_released():
    customer, designer = make_user(), make_user()
    home = edb.EscrowAccount.open(customer, "stripe", "EUR")
    payment = edb.EscrowTransaction.initiate(
        home,
        reference="logo-1",
        amount=Decimal("1200.50"),
        fee_amount=Decimal("60.03"),
        initiated_by=customer,
        counterparty=designer,
        type=edb.TransactionType.MILESTONE,
        milestone_label="First draft",
    )
    assert payment.net_amount == Decimal("1140.47")
    assert escrow.books(home) == (0, 0)

    payment.fund(by=customer)
    assert escrow.books(home) == (Decimal("1200.50"), Decimal("1140.47"))
    payment.hold()
    assert escrow.books(home) == (Decimal("1200.50"), Decimal("1140.47"))

    move = payment.release(by=customer)
    assert (move.changed, move.before, move.after) == (True, "in_escrow", "released")
    assert move.transaction.account.current_balance == 0
    assert escrow.books(home) == (0, 0)
    stored = edb.EscrowTransaction.get_by_id(payment.id)
    assert stored.released_at == move.transaction.released_at
    assert [(entry["actorId"], entry["action"], entry["from"], entry["to"]) for entry in stored.audit_trail] == [
        (customer.id, "initiate", None, "initiated"),
        (customer.id, "fund", "initiated", "funded"),
        (None, "hold", "funded", "in_escrow"),
        (customer.id, "release", "in_escrow", "released"),
    ]
    for entry in stored.audit_trail:
        assert (entry["amount"], entry["fee"], entry["net"], entry["currency"]) == (
            1200.5,
            60.03,
            1140.47,
            "EUR",
        )
        assert datetime.fromisoformat(entry["at"]).utcoffset() == timedelta(0)
    assert datetime.fromisoformat(stored.audit_trail[-1]["at"]) == stored.released_at


def test_a_refund_subtracts_its_own_amount_only():
    home = escrow.account()
    kept, returned = escrow.payment(home, "30", "3"), escrow.payment(home, "12.3456", "0")
    kept.fund()
    returned.fund()
    assert escrow.books(home) == (Decimal("42.3456"), Decimal("39.3456"))
    returned.refund()
    assert escrow.books(home) == (30, 27)
    assert returned.refunded_at is not None
    assert edb.find_problems() == []


def test_an_unfunded_payment_is_cancelled():
    home = escrow.account()
    payment = escrow.payment(home)
    assert payment.cancel().after == "cancelled"
    assert payment.cancelled_at is not None
    assert escrow.books(home) == (0, 0)


def test_ten_cents_and_twenty_cents_are_thirty_cents():
    home = escrow.account()
    for cents in ("0.1", "0.2", "0.0001"):
        escrow.payment(home, cents, "0").fund()
    assert escrow.books(home) == (Decimal("0.3001"), Decimal("0.3001"))
    assert edb.find_problems() == []
    assert edb.reconcile(home).adds_up
    assert [(total.count, total.amount) for total in edb.escrow_totals()] == [(3, Decimal("0.3001"))]


def test_a_callers_decimal_context_does_not_round_the_books():
    home = escrow.account()
    with decimal.localcontext(decimal.Context(prec=3)):
        payment = escrow.payment(home, "1234.5678", "0.0001")
        payment.fund()
        escrow.payment(home, "1000.0001", "0").fund()
        assert edb.reconcile(home).adds_up
        assert edb.find_problems() == []
    assert payment.net_amount == Decimal("1234.5677")
    assert escrow.books(home) == (Decimal("2234.5679"), Decimal("2234.5678"))


# Moves


def test_the_table_of_moves_is_the_contract():
    edges = {
        (source, target)
        for rule in transitions.TRANSITIONS.values()
        for source in rule.sources
        for target in ([rule.target] if rule.target else ["funded", "in_escrow"])
    }
    assert edges == {
        *((before, after) for (before, _), after in LEGAL.items()),
        ("funded", "disputed"),
        ("in_escrow", "disputed"),
        ("disputed", "funded"),
        ("disputed", "in_escrow"),
        ("disputed", "released"),
        ("disputed", "refunded"),
    }


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("verb", VERBS)
def test_each_move_from_each_status_is_legal_a_repetition_or_refused(status, verb):
    payment = escrow.payment_in(status)
    before = edb.EscrowTransaction.get_by_id(payment.id)
    books_before = escrow.books(before.account)
    if (status, verb) in LEGAL:
        move = getattr(payment, verb)()
        assert (move.changed, move.before, move.after) == (True, status, LEGAL[status, verb])
        assert payment.status == edb.EscrowTransaction.get_by_id(payment.id).status == LEGAL[status, verb]
        assert len(payment.audit_trail) == len(before.audit_trail) + 1
    else:
        if (status, verb) in REPEATED:
            move = getattr(payment, verb)()
            assert (move.changed, move.before, move.after) == (False, status, status)
        else:
            with pytest.raises(edb.InvalidTransition, match=f"{payment.reference}.* is {status}"):
                getattr(payment, verb)()
        assert edb.EscrowTransaction.get_by_id(payment.id).__data__ == before.__data__
        assert escrow.books(before.account) == books_before
    assert edb.find_problems() == []


def test_a_refusal_names_the_allowed_moves():
    with pytest.raises(edb.InvalidTransition) as refusal:
        escrow.payment_in("funded").cancel()
    assert "is funded; cancel starts from initiated" in str(refusal.value)
    assert "it can: hold, release, refund, dispute" in str(refusal.value)
    with pytest.raises(edb.InvalidTransition, match="It is settled: initiate a new one"):
        escrow.payment_in("released").refund()


def test_a_verb_on_a_stale_row_starts_from_the_stored_status():
    payment = escrow.payment_in("initiated")
    old = edb.EscrowTransaction.get_by_id(payment.id)
    payment.fund()
    assert not old.fund().changed
    assert old.status == "funded"
    assert old.account.current_balance == 100


def test_unsaved_changes_to_a_row_do_not_affect_its_move():
    payment = escrow.payment_in("initiated")
    payment.amount = Decimal(1)
    payment.status = "in_escrow"
    payment.fund()
    assert payment.amount == 100
    assert payment.dirty_fields == []
    assert escrow.books(payment.account) == (100, 90)


def test_a_trail_that_another_service_wrote_is_kept():
    payment = escrow.payment_in("initiated")
    tamper(payment, audit_trail={"note": "made elsewhere"})
    payment.fund()
    assert payment.audit_trail[0] == {"note": "made elsewhere"}
    assert payment.audit_trail[1]["action"] == "fund"


def test_a_disputed_payment_without_a_case_can_be_released():
    payment = escrow.payment_in("in_escrow")
    tamper(payment, status="disputed")
    assert payment.release().after == "released"
    assert escrow.books(payment.account) == (0, 0)


def test_money_that_the_books_do_not_have_is_not_paid_out():
    payment = escrow.payment_in("in_escrow")
    tamper(payment.account, current_balance=Decimal(99))
    with pytest.raises(edb.Refused, match="find_problems"):
        payment.release()
    assert edb.EscrowTransaction.get_by_id(payment.id).status == "in_escrow"


# References


def payload(**changes):
    values = {
        "reference": "order-7",
        "amount": Decimal("10.50"),
        "fee_amount": Decimal("0.5"),
        "type": "gig",
        "milestone_label": "Draft",
        "external_id": "pi_1",
        "scheduled_release_at": datetime(2027, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "metadata": {"b": [1, 2.50, 1e30, None, "ü"], "a": {"deep": True}},
    }
    return {**values, **changes}


def test_the_same_payload_again_returns_the_first_row_in_any_status():
    home = escrow.account()
    first = edb.EscrowTransaction.initiate(home, initiated_by=home.user, **payload())
    first.fund()
    first.refund()
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    again = edb.EscrowTransaction.initiate(
        home.id,
        initiated_by=home.user_id,
        currency_code="USD",
        **payload(
            amount=Decimal("10.5"),
            scheduled_release_at=payload()["scheduled_release_at"].astimezone(elsewhere),
            metadata={"a": {"deep": True}, "b": [1.0, 2.5, 10**30 / 1, None, "ü"]},
        ),
    )
    assert again.id == first.id
    assert again.status == "refunded"
    assert edb.EscrowTransaction.select().count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", 11),
        ("fee_amount", 0),
        ("type", "retainer"),
        ("milestone_label", None),
        ("external_id", "pi_2"),
        ("scheduled_release_at", datetime(2027, 1, 2, 3, 4, 5, 678902, tzinfo=UTC)),
        ("metadata", {"b": []}),
    ],
)
def test_another_payload_under_a_reference_is_refused_by_the_name_of_its_field(field, value):
    home = escrow.account()
    first = edb.EscrowTransaction.initiate(home, initiated_by=home.user, **payload())
    with pytest.raises(edb.ReferenceConflict, match=rf"'order-7'.* {first.id} .*{field} was ") as conflict:
        edb.EscrowTransaction.initiate(home, initiated_by=home.user, **payload(**{field: value}))
    assert conflict.value.fields == (field,)
    assert edb.EscrowTransaction.get() == first


def test_other_people_projects_and_accounts_are_another_payload():
    home, other = escrow.account(), escrow.account()
    project, gig = edb.Project.create(title="Site"), edb.Gig.create(title="Logo")
    edb.EscrowTransaction.initiate(home, initiated_by=home.user, **payload())
    for field, value in {
        "initiated_by": other.user,
        "counterparty": other.user,
        "project": project,
        "gig": gig,
    }.items():
        with pytest.raises(edb.ReferenceConflict) as conflict:
            edb.EscrowTransaction.initiate(home, **{"initiated_by": home.user, **payload(), field: value})
        assert conflict.value.fields == (field,)
    with pytest.raises(edb.ReferenceConflict) as conflict:
        edb.EscrowTransaction.initiate(other, initiated_by=home.user, **payload())
    assert conflict.value.fields == ("account",)


def test_an_id_that_is_taken_is_not_blamed_on_another_payment(database, server):
    payment = escrow.payment(escrow.account())
    if server.name == "sqlite":
        pytest.skip("this server never gives an id that a row has")
    if server.name == "postgres":
        make, undo = f"SELECT setval('escrow_transactions_id_seq', {payment.id}, false)", "SELECT 1"
    else:
        make = f"CREATE TRIGGER take_ids BEFORE INSERT ON escrow_transactions FOR EACH ROW SET NEW.id = {payment.id}"
        undo = "DROP TRIGGER take_ids"
    database.execute_sql(make)
    try:
        with pytest.raises(edb.Refused, match="gave the new row an id that another row has"):
            escrow.payment(payment.account)
    finally:
        database.execute_sql(undo)
    assert edb.EscrowTransaction.select().count() == 1
    assert edb.find_problems() == []


def test_what_a_service_writes_later_does_not_make_a_repetition_a_conflict():
    home, project = escrow.account(), edb.Project.create(title="Site")
    first = edb.EscrowTransaction.initiate(home, initiated_by=home.user, project=project, **payload())
    key = project.id
    project.delete_instance()
    edb.EscrowTransaction.update(external_id="pi_9").execute()
    first.edit(scheduled_release_at=None)
    again = edb.EscrowTransaction.initiate(home, initiated_by=home.user, project=key, **payload())
    assert again == first


def test_a_row_that_another_service_wrote_is_compared_by_its_columns():
    home, metadata = escrow.account(), {"b": [1, 2.5], "a": edb.JSON_NULL}
    first = edb.EscrowTransaction.initiate(home, initiated_by=home.user, **payload(metadata=metadata))
    tamper(first, audit_trail=None)
    again = edb.EscrowTransaction.initiate(home, initiated_by=home.user, **payload(metadata=metadata))
    assert again == first
    with pytest.raises(edb.ReferenceConflict) as conflict:
        edb.EscrowTransaction.initiate(home, initiated_by=home.user, **payload(metadata=metadata, amount=9))
    assert conflict.value.fields == ("amount",)


def test_a_repetition_is_answered_by_a_closed_account_too():
    home = escrow.account()
    first = escrow.payment(home, reference="R")
    home.close()
    assert escrow.payment(home, reference="R") == first


# Accounts


def test_a_person_has_one_account_per_provider_and_currency():
    person = make_user()
    home = edb.EscrowAccount.open(person, "stripe")
    assert home.status == "pending"
    assert edb.EscrowAccount.open(person.id, "stripe", "USD") == home
    others = [
        edb.EscrowAccount.open(person, "stripe", "EUR"),
        edb.EscrowAccount.open(person, "Stripe", "USD"),
        edb.EscrowAccount.open(make_user(), "stripe", "USD"),
    ]
    assert len({home.id, *(other.id for other in others)}) == 4


def test_an_account_is_activated_suspended_closed_and_activated_again():
    home = escrow.account()
    for verb, status in (
        ("activate", "active"),
        ("suspend", "suspended"),
        ("close", "closed"),
        ("activate", "active"),
    ):
        move = getattr(home, verb)()
        assert (move.changed, move.after, home.status) == (True, status, status)
        assert not getattr(home, verb)().changed
        assert edb.EscrowAccount.get_by_id(home.id).status == status


@pytest.mark.parametrize("verb", ["suspend", "close"])
def test_a_suspended_or_closed_account_takes_no_new_money(verb):
    home = escrow.account()
    waiting = escrow.payment(home)
    getattr(home, verb)()
    with pytest.raises(edb.Refused, match=f"account {home.id} is {home.status} and accepts no funding"):
        escrow.payment(home)
    with pytest.raises(edb.Refused, match="accepts no funding"):
        waiting.fund()
    assert waiting.cancel().changed
    assert escrow.books(home) == (0, 0)


def test_a_suspended_account_still_pays_out():
    payment = escrow.payment_in("in_escrow")
    payment.account.suspend()
    assert payment.release().changed


def test_an_account_that_holds_money_is_not_closed():
    payment = escrow.payment_in("funded")
    with pytest.raises(edb.InvalidTransition, match=r"still holds 100.0000 USD; release or refund"):
        payment.account.close()
    assert edb.EscrowAccount.get().status == "active"


def test_a_closed_account_is_not_suspended():
    home = escrow.account()
    home.close()
    with pytest.raises(edb.InvalidTransition, match="is closed and cannot become suspended"):
        home.suspend()


def test_currencies_match():
    home = escrow.account("EUR")
    with pytest.raises(edb.Refused, match=f"account {home.id} is in EUR, the transaction in USD"):
        escrow.payment(home, currency_code="USD")
    assert escrow.payment(home).currency_code == "EUR"


# Inside a caller's transaction


def test_verbs_join_a_callers_transaction_and_are_rolled_back_with_it(database):
    home = escrow.account()
    with database.atomic() as outer:
        payment = escrow.payment(home, reference="R")
        payment.fund()
        assert escrow.payment(home, reference="R") == payment
        with pytest.raises(edb.InvalidTransition):
            payment.cancel()
        with pytest.raises(edb.NotFound):
            escrow.payment(home, gig=2_000_000_000)
        assert escrow.books(home) == (100, 90)
        outer.rollback()
    assert edb.EscrowTransaction.select().count() == 0
    assert escrow.books(home) == (0, 0)


def test_a_reference_that_another_account_is_about_to_take_is_a_conflict(database, url_of_tables):
    home, other = escrow.account(), escrow.account()
    refusals = []

    def take_it_too():
        try:
            escrow.payment(other, reference="R", initiated_by=home.user_id)
        except edb.ReferenceConflict as conflict:
            refusals.append(conflict.fields)

    def run():
        with database.connection_context():
            take_it_too()

    with database.atomic("IMMEDIATE" if isinstance(database, peewee.SqliteDatabase) else None):
        escrow.payment(home, reference="R")
        second = threading.Thread(target=run)
        second.start()
        wait_until_blocked(url_of_tables)
        assert second.is_alive()
    second.join()
    assert refusals == [("account",)]
    assert edb.EscrowTransaction.get().account_id == home.id


def on_another_connection(database, work):
    """Run the work in a thread, which has a connection of its own, and wait for it."""
    failures = []

    def run():
        try:
            with database.connection_context():
                work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failures == []


def skip_where_one_writes(server):
    if server.name == "sqlite":
        pytest.skip("does not apply to SQLite: nobody writes while a transaction that has read will write")


def moved_or_refused_by_the_server(work):
    """Do the work, or see it refused as a whole because its snapshot is old."""
    try:
        return work()
    except (edb.Contention, peewee.OperationalError) as error:
        return error


@pytest.mark.parametrize("commits", [False, True])
def test_an_old_snapshot_does_not_corrupt_a_balance(database, server, commits):
    skip_where_one_writes(server)
    home = escrow.account()
    ours, theirs = escrow.payment(home), escrow.payment(home)
    with database.atomic("REPEATABLE READ") as outer:
        edb.EscrowTransaction.select().count()
        on_another_connection(database, lambda: edb.EscrowTransaction.get_by_id(theirs.id).fund())
        outcome = moved_or_refused_by_the_server(ours.fund)
        if isinstance(outcome, edb.TransactionChange):
            assert edb.reconcile(home).adds_up
        if not commits or isinstance(outcome, Exception):
            outer.rollback()
    moved = isinstance(outcome, edb.TransactionChange) and commits
    assert escrow.books(home) == ((200, 180) if moved else (100, 90))
    assert edb.find_problems() == []


def test_a_reference_taken_since_an_old_snapshot_is_answered_or_refused_as_contention(database, server):
    skip_where_one_writes(server)
    home = escrow.account()
    with database.atomic("REPEATABLE READ") as outer:
        edb.EscrowTransaction.select().count()
        on_another_connection(database, lambda: escrow.payment(home, reference="R"))
        outcome = moved_or_refused_by_the_server(lambda: escrow.payment(home, reference="R"))
        outer.rollback()
    first = edb.EscrowTransaction.get()
    assert outcome == first or isinstance(outcome, edb.Contention | peewee.OperationalError)


def test_an_account_is_opened_once_whatever_a_snapshot_shows(database, server):
    skip_where_one_writes(server)
    person, other = make_user(), make_user()
    with database.atomic("REPEATABLE READ") as outer:
        edb.EscrowAccount.select().count()
        on_another_connection(database, lambda: edb.EscrowAccount.open(person, "stripe"))
        alone = moved_or_refused_by_the_server(lambda: edb.EscrowAccount.open(other, "stripe"))
        outcome = moved_or_refused_by_the_server(lambda: edb.EscrowAccount.open(person, "stripe"))
        outer.rollback()
    assert isinstance(alone, edb.EscrowAccount)
    first = edb.EscrowAccount.get()
    assert outcome == first or isinstance(outcome, edb.Contention | peewee.OperationalError)
