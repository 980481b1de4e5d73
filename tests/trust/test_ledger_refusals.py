"""What does not fit is refused before it is stored, by one clear error that is the same on every server."""

from datetime import datetime
from decimal import Decimal

import escrow
import pytest

import engagement_db as edb
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")

UNKNOWN = 2_000_000_000


@pytest.fixture
def home():
    return escrow.account()


def initiate(home, **changes):
    values = {"reference": "R", "amount": Decimal(10), "initiated_by": home.user_id, **changes}
    return edb.EscrowTransaction.initiate(home, **values)


@pytest.mark.parametrize(
    ("column", "changes", "reason"),
    [
        ("amount", {"amount": 10.0}, "not exact"),
        ("amount", {"amount": "10"}, "not an amount"),
        ("amount", {"amount": True}, "not an amount"),
        ("amount", {"amount": None}, "not an amount"),
        ("amount", {"amount": Decimal("NaN")}, "not an amount"),
        ("amount", {"amount": Decimal("sNaN")}, "not an amount"),
        ("amount", {"amount": Decimal("Infinity")}, "not an amount"),
        ("amount", {"amount": Decimal(-1)}, "not more than 0"),
        ("amount", {"amount": 0}, "not more than 0"),
        ("amount", {"amount": Decimal("0.00001")}, "more than 4 decimal places"),
        ("amount", {"amount": Decimal("1.00005")}, "more than 4 decimal places"),
        ("amount", {"amount": 10**14}, "too large"),
        ("feeAmount", {"fee_amount": 0.5}, "not exact"),
        ("feeAmount", {"fee_amount": Decimal("-0.01")}, "not between 0 and the amount"),
        ("feeAmount", {"fee_amount": Decimal("10.0001")}, "not between 0 and the amount"),
        ("reference", {"reference": "x" * 121}, "at most 120"),
        ("reference", {"reference": "x" * 2**20}, "at most 120"),
        ("reference", {"reference": "a\0b"}, "NUL"),
        ("reference", {"reference": " "}, "blank"),
        ("reference", {"reference": None}, "blank"),
        ("reference", {"reference": 7}, "not text"),
        ("externalId", {"external_id": "\0"}, "NUL"),
        ("milestoneLabel", {"milestone_label": "x" * 2**20}, "at most 180"),
        ("metadata", {"metadata": {"a": "\0"}}, "NUL"),
        ("metadata", {"metadata": {"a": float("nan")}}, "not JSON"),
        ("metadata", {"metadata": {"a": {1, 2}}}, "not JSON"),
        ("type", {"type": "gift"}, "not one of"),
        ("currencyCode", {"currency_code": "usd"}, "three capital letters"),
        ("currencyCode", {"currency_code": "ZZZ"}, "not a currency code of ISO 4217"),
        ("currencyCode", {"currency_code": ""}, "blank"),
        ("scheduledReleaseAt", {"scheduled_release_at": datetime(2027, 1, 1)}, "naive"),
        ("scheduledReleaseAt", {"scheduled_release_at": "2027-01-01"}, "not a time"),
        ("initiatedById", {"initiated_by": 2**63}, "does not fit"),
        ("initiatedById", {"initiated_by": "me"}, "not an id"),
        ("projectId", {"project": 1.5}, "not an id"),
    ],
)
def test_a_payment_with_a_value_that_does_not_fit_is_refused(home, column, changes, reason):
    with pytest.raises(edb.RefusedValue, match=rf"escrow_transactions\.{column}: .*{reason}"):
        initiate(home, **changes)
    assert edb.EscrowTransaction.select().count() == 0


@pytest.mark.parametrize(("column", "values"), [("amount", {}), ("feeAmount", {"amount": 10})])
def test_a_fraction_of_a_currency_without_decimal_places_is_refused(column, values):
    home = escrow.account("JPY")
    with pytest.raises(edb.RefusedValue, match=rf"escrow_transactions\.{column}: 0.5 is not .* JPY has no decimal"):
        initiate(home, **{"amount": Decimal("0.5"), "fee_amount": Decimal("0.5"), **values})
    assert edb.EscrowTransaction.select().count() == 0
    assert initiate(home, amount=Decimal("500.0")).amount == 500


@pytest.mark.parametrize("field", ["initiated_by", "counterparty", "project", "gig"])
def test_a_payment_by_a_row_that_is_not_stored_is_refused(home, field):
    model = edb.EscrowTransaction._meta.fields[field].rel_model
    with pytest.raises(edb.RefusedValue, match="not stored"):
        initiate(home, **{field: model()})
    with pytest.raises(edb.RefusedValue, match="not stored"):
        initiate(home).fund(by=edb.User())
    assert edb.EscrowTransaction.get().status == "initiated"


@pytest.mark.parametrize("field", ["initiated_by", "counterparty", "project", "gig"])
def test_a_payment_for_an_unknown_user_is_refused(home, field):
    with pytest.raises(edb.NotFound, match=f"{field}: [a-z]+ {UNKNOWN} does not exist"):
        initiate(home, **{field: UNKNOWN})
    assert edb.EscrowTransaction.select().count() == 0


def test_a_payment_in_an_unknown_account_is_refused(home):
    with pytest.raises(edb.NotFound, match=f"escrow_accounts {UNKNOWN} does not exist"):
        edb.EscrowTransaction.initiate(UNKNOWN, reference="R", amount=1, initiated_by=home.user)


def test_a_payment_without_an_initiator_is_refused(home):
    with pytest.raises(edb.RefusedValue, match=r"initiatedById: a value is required"):
        initiate(home, initiated_by=None)


@pytest.mark.parametrize("verb", ["fund", "hold", "release", "refund", "cancel"])
def test_an_unknown_transaction_or_actor_is_refused(home, verb):
    payment = initiate(home)
    for stranger in (edb.EscrowTransaction(id=UNKNOWN), edb.EscrowTransaction(id=UNKNOWN, account=home)):
        with pytest.raises(edb.NotFound, match=f"escrow_transactions {UNKNOWN} does not exist"):
            getattr(stranger, verb)()
    if verb in ("fund", "cancel"):
        with pytest.raises(edb.NotFound, match=f"by: users {UNKNOWN} does not exist"):
            getattr(payment, verb)(by=UNKNOWN)
    assert len(edb.EscrowTransaction.get().audit_trail) == 1


@pytest.mark.parametrize(
    ("column", "provider", "currency_code", "reason"),
    [
        ("provider", "", "USD", "blank"),
        ("provider", None, "USD", "blank"),
        ("provider", "a\0", "USD", "NUL"),
        ("provider", "x" * 2**20, "USD", "at most 80"),
        ("currencyCode", "stripe", "Usd", "three capital letters"),
        ("currencyCode", "stripe", "US", "three capital letters"),
        ("currencyCode", "stripe", "ZZZ", "not a currency code of ISO 4217"),
        ("currencyCode", "stripe", "XXX", "not a currency code of ISO 4217"),
        ("currencyCode", "stripe", "DOLLAR", "at most 3"),
        ("currencyCode", "stripe", "ÄÖÜ", "three capital letters"),
    ],
)
def test_an_account_with_a_value_that_does_not_fit_is_refused(column, provider, currency_code, reason):
    with pytest.raises(edb.RefusedValue, match=rf"escrow_accounts\.{column}: .*{reason}"):
        edb.EscrowAccount.open(make_user(), provider, currency_code)
    assert edb.EscrowAccount.select().count() == 0


def test_an_account_of_an_unknown_user_is_refused():
    with pytest.raises(edb.NotFound, match=f"users {UNKNOWN} does not exist"):
        edb.EscrowAccount.open(UNKNOWN, "stripe")
    for nobody in (None, edb.User(first_name="Not", last_name="Stored", email="")):
        with pytest.raises(edb.RefusedValue, match="userId"):
            edb.EscrowAccount.open(nobody, "stripe")
    assert edb.EscrowAccount.select().count() == 0


def test_an_unknown_account_is_not_changed():
    for verb in ("activate", "suspend", "close"):
        with pytest.raises(edb.NotFound, match=f"escrow_accounts {UNKNOWN} does not exist"):
            getattr(edb.EscrowAccount(id=UNKNOWN), verb)()
    with pytest.raises(edb.NotFound):
        edb.reconcile(UNKNOWN)


def test_a_balance_that_would_not_fit_is_refused_and_nothing_moves(home):
    most = Decimal(10**14 - 1)
    initiate(home, amount=most, fee_amount=most).fund()
    payment = initiate(home, reference="one more", amount=1)
    with pytest.raises(edb.RefusedValue, match=r"escrow_accounts\.currentBalance: .* too large"):
        payment.fund()
    assert edb.EscrowTransaction.get_by_id(payment.id).status == "initiated"
    assert escrow.books(home) == (most, 0)
    assert edb.find_problems() == []


def test_a_balance_of_more_digits_than_the_server_keeps_is_refused_there_and_exact_elsewhere(home, server):
    initiate(home, amount=Decimal(10**13)).fund()
    payment = initiate(home, reference="small", amount=Decimal("0.0001"))
    if server.name == "sqlite":
        with pytest.raises(edb.RefusedValue, match="more significant digits than SQLite keeps"):
            payment.fund()
        assert escrow.books(home) == (10**13, 10**13)
    else:
        payment.fund()
        assert escrow.books(home) == (Decimal("10000000000000.0001"), Decimal("10000000000000.0001"))
    assert edb.find_problems() == []


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**30, 1.5, True, None, "10"])
def test_an_invalid_limit_is_refused(limit):
    for query in (
        lambda: edb.release_queue(limit=limit),
        lambda: edb.find_problems(limit=limit),
    ):
        with pytest.raises(edb.RefusedValue, match=r"limit: .* is not a whole number from 1 to 1000"):
            query()


def test_a_naive_time_has_no_release_queue():
    with pytest.raises(edb.RefusedValue, match="naive"):
        list(edb.release_queue(datetime(2027, 1, 1)))


def test_totals_of_too_many_owners_at_once_are_refused():
    with pytest.raises(edb.RefusedValue, match="1001 rows are too many"):
        edb.escrow_totals_per_owner(range(1001))
    with pytest.raises(edb.RefusedValue, match="not an id"):
        edb.escrow_totals_per_project(["all"])
