"""Listings are pages in the order of ids, whatever the filters, and refuse what no index serves."""

from datetime import timedelta

import escrow
import pytest
from tampering import tamper

import engagement_db as edb
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def payments():
    """Payments of three accounts: of Ada in stripe and paypal, to Grace, for a site; and one of somebody else."""
    ada, grace = make_user(), make_user()
    site = edb.Project.create(title="Site")
    stripe = edb.EscrowAccount.open(ada, "stripe", "USD")
    paypal = edb.EscrowAccount.open(ada, "paypal", "EUR")
    other = escrow.account()
    rows = [
        escrow.payment(stripe, counterparty=grace, project=site, type="gig"),
        escrow.payment(paypal, project=site),
        escrow.payment(stripe, counterparty=grace, initiated_by=grace),
        escrow.payment(other),
    ]
    rows[0].fund()
    rows[2].fund()
    rows[2].release()
    return {"ada": ada, "grace": grace, "site": site, "stripe": stripe, "paypal": paypal, "rows": rows}


def numbers(page, rows):
    return [rows.index(row) for row in page]


def test_transactions_by_each_filter_newest_first(payments):
    rows = payments["rows"]
    for filters, expected in (
        ({}, [3, 2, 1, 0]),
        ({"account": payments["stripe"]}, [2, 0]),
        ({"owner": payments["ada"]}, [2, 1, 0]),
        ({"initiated_by": payments["grace"].id}, [2]),
        ({"counterparty": payments["grace"]}, [2, 0]),
        ({"project": payments["site"]}, [1, 0]),
        ({"status": "initiated"}, [3, 1]),
        ({"status": edb.TransactionStatus.FUNDED}, [0]),
        ({"owner": payments["ada"], "status": "released"}, [2]),
        ({"owner": payments["ada"], "provider": "paypal"}, [1]),
        ({"project": payments["site"], "type": "gig"}, [0]),
        ({"owner": payments["ada"], "created_from": rows[1].created_at}, [2, 1]),
        ({"owner": payments["ada"], "created_before": rows[1].created_at}, [0]),
    ):
        assert numbers(edb.list_transactions(**filters), rows) == expected, filters


def test_accounts_by_each_filter(payments):
    stripe, paypal = payments["stripe"], payments["paypal"]
    assert list(edb.list_accounts(user=payments["ada"])) == [paypal, stripe]
    assert list(edb.list_accounts(user=payments["ada"], currency_code="EUR")) == [paypal]
    assert list(edb.list_accounts(provider="paypal")) == [paypal]
    assert list(edb.list_accounts(provider="paypal", status="active")) == []
    assert list(edb.list_accounts(status="active")) == [stripe]
    assert len(edb.list_accounts()) == 3


@pytest.mark.parametrize(
    "filters", [{"type": "gig"}, {"provider": "stripe"}, {"status": "released"}, {"created_from": edb.now()}]
)
def test_transactions_by_what_has_no_index_are_refused(filters):
    with pytest.raises(edb.Refused, match=f"serves {next(iter(filters))} alone; add a filter") as raised:
        edb.list_transactions(**filters)
    assert {"account", "owner", "status"} < set(raised.value.allowed)
    assert ", ".join(raised.value.allowed) in str(raised.value)


def test_a_filter_that_a_refusal_names_is_taken_alone(payments):
    listings = {
        edb.list_accounts: {"currency_code": "EUR"},
        edb.list_transactions: {"type": "gig"},
        edb.list_cases: {"text": "x"},
    }
    values = {"provider": "stripe", "status": "active", "reference_prefix": "E", "stage": "intake", "priority": "high"}
    for listing, refused in listings.items():
        with pytest.raises(edb.Refused) as raised:
            listing(**refused)
        for name in raised.value.allowed:
            status = {edb.list_transactions: "funded", edb.list_cases: "open"}.get(listing, "active")
            list(listing(**{name: status if name == "status" else values.get(name, 1)}))


def test_accounts_and_cases_by_what_has_no_index_are_refused():
    with pytest.raises(edb.Refused, match="currency_code alone"):
        edb.list_accounts(currency_code="EUR")
    for name in ("reason_code", "text"):
        with pytest.raises(edb.Refused, match=f"{name} alone"):
            edb.list_cases(**{name: "late"})
    with pytest.raises(edb.Refused, match="reason_code and text alone"):
        edb.list_cases(reason_code="late", text="parcel")


def test_cases_by_each_filter_closed_ones_too():
    clerk, payer, payee = make_user(), make_user(), make_user()
    home = edb.EscrowAccount.open(payer, "stripe")
    cases = []
    for reference, priority in (("A_1", "low"), ("A%2", "high"), ("AB3", "low")):
        payment = escrow.payment(home, reference=reference, counterparty=payee, initiated_by=clerk)
        payment.fund()
        cases.append(edb.DisputeCase.open(payment, clerk, "late", f"100% of {reference}", priority=priority))
    cases[0].resolve("refund", "Lost.")
    cases[1].assign(clerk)
    cases[2].advance("mediation")
    escrow.dispute(escrow.payment_in("funded"))
    for filters, expected in (
        ({"escrow_transaction": cases[1].escrow_transaction_id}, [1]),
        ({"assigned_to": clerk}, [1]),
        ({"priority": "low", "party": clerk}, [2, 0]),
        ({"status": "settled"}, [0]),
        ({"stage": "mediation"}, [2]),
        ({"party": clerk}, [2, 1, 0]),
        ({"party": payer}, [2, 1, 0]),
        ({"party": payee.id}, [2, 1, 0]),
        ({"party": payee, "reason_code": "late", "reference_prefix": "A_"}, [0]),
        ({"party": payee, "reference_prefix": "A%"}, [1]),
        ({"reference_prefix": "A"}, [2, 1, 0]),
        ({"reference_prefix": "A_"}, [0]),
        ({"reference_prefix": "A%2"}, [1]),
        ({"reference_prefix": "a"}, []),
        ({"reference_prefix": "A", "reason_code": "late", "text": "AB"}, [2]),
        ({"party": payee, "text": "100% of AB"}, [2]),
        ({"party": make_user()}, []),
    ):
        page = edb.list_cases(**filters)
        assert [cases.index(case) for case in page] == expected, filters
    assert len(edb.list_cases()) == 4


def test_pages_follow_each_other_both_ways_and_rows_that_arrive_between_do_not_shift_them():
    home = escrow.account()
    rows = [escrow.payment(home) for _ in range(5)]
    first = edb.list_transactions(account=home, limit=2)
    assert numbers(first, rows) == [4, 3]
    rows.append(escrow.payment(home))
    second = edb.list_transactions(account=home, limit=2, after=first.next_cursor)
    assert numbers(second, rows) == [2, 1]
    third = edb.list_transactions(account=home, limit=2, after=second.next_cursor)
    assert numbers(third, rows) == [0]
    assert third.next_cursor is None
    assert numbers(edb.list_transactions(account=home, limit=2, before=second.previous_cursor), rows) == [4, 3]
    assert numbers(edb.list_transactions(account=home, limit=2, before=first.previous_cursor), rows) == [5]


def test_rows_of_one_page_are_in_the_order_of_ids_whatever_their_times():
    home = escrow.account()
    rows = [escrow.payment(home) for _ in range(4)]
    tamper(rows[0], created_at=edb.now() + timedelta(days=1))
    page = edb.list_transactions(account=home, limit=3)
    assert numbers(page, rows) == [3, 2, 1]
    assert numbers(edb.list_transactions(account=home, after=page.next_cursor), rows) == [0]


def test_the_pages_of_a_party_follow_each_other():
    person = make_user()
    home = edb.EscrowAccount.open(person, "stripe")
    cases = [escrow.dispute(escrow.payment_in("funded", home)) for _ in range(3)]
    page = edb.list_cases(party=person, limit=2)
    assert list(page) == [cases[2], cases[1]]
    assert list(edb.list_cases(party=person, limit=2, after=page.next_cursor)) == [cases[0]]


def test_a_timeline_has_every_event_of_its_case_newest_first():
    case = escrow.dispute(escrow.payment_in("funded"))
    escrow.dispute(escrow.payment_in("funded"))
    for number in range(3):
        case.record(notes=f"note {number}")
    page = edb.case_timeline(case, limit=2)
    assert [event.notes for event in page] == ["note 2", "note 1"]
    assert [event.notes for event in edb.case_timeline(case.id, after=page.next_cursor)] == ["note 0", case.summary]


def test_values_and_cursors_that_do_not_fit_are_refused():
    home = escrow.account()
    escrow.payment(home)
    cursor = edb.list_transactions().previous_cursor
    for call in (
        lambda: edb.list_accounts(after=cursor),
        lambda: edb.list_transactions(after="nonsense"),
        lambda: edb.list_transactions(limit=201),
        lambda: list(edb.list_transactions(status="lost")),
        lambda: edb.list_cases(party=edb.User()),
        lambda: edb.list_cases(status="open", text=" "),
    ):
        with pytest.raises(edb.RefusedValue):
            call()
