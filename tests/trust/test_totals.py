"""Totals over transactions are exact, and few queries whatever the number of rows."""

from datetime import timedelta
from decimal import Decimal

import escrow
import pytest
from playhouse.test_utils import count_queries
from tampering import tamper

import engagement_db as edb
from engagement_db.testing import make_user

pytestmark = pytest.mark.usefixtures("database")


def test_totals_by_status_owner_and_project():
    owner, home = make_user(), escrow.account()
    site, shop = edb.Project.create(title="Site", owner=owner), edb.Project.create(title="Shop", owner=owner)
    other = edb.Project.create(title="Other", owner=make_user())
    for project, amount in ((site, 1), (site, 2), (shop, 4), (other, 8), (None, 16)):
        escrow.payment(home, amount, "0.5", project=project).fund()
    escrow.payment(home, 32, "1", project=site)

    def shown(totals):
        return sorted((t.status, t.currency_code, t.count, t.amount, t.fee_amount, t.net_amount) for t in totals)

    assert shown(edb.escrow_totals_per_owner([owner])) == [
        ("funded", "USD", 3, 7, Decimal("1.5"), Decimal("5.5")),
        ("initiated", "USD", 1, 32, 1, 31),
    ]
    by_project = edb.escrow_totals_per_project([site, shop.id])
    assert {(t.project_id, t.status): t.amount for t in by_project} == {
        (site.id, "funded"): 3,
        (site.id, "initiated"): 32,
        (shop.id, "funded"): 4,
    }
    assert {t.status: t.amount for t in edb.escrow_totals()} == {"funded": 31, "initiated": 32}
    assert edb.escrow_totals_per_owner([]) == []


def test_totals_take_one_query():
    for _ in range(5):
        escrow.payment_in("funded")
    with count_queries() as counted:
        edb.escrow_totals()
    assert counted.count == 1


def test_an_overview_has_totals_cases_by_age_and_the_releases_ahead():
    home, euros, at = escrow.account(), escrow.account("EUR"), edb.now()
    for account, amount, hours in (
        (home, "0.1", -5),
        (home, "0.2", 0),
        (home, "4", 12),
        (euros, "8", 47),
        (home, "16", 90),
    ):
        payment = escrow.payment(account, amount, 0, scheduled_release_at=at + timedelta(hours=hours))
        payment.fund()
        payment.hold()
    escrow.payment(home, "32", "2").fund()
    for hours, stage in ((1, "intake"), (2, "intake"), (50, "mediation"), (9999, "intake")):
        case = escrow.dispute(escrow.payment_in("funded", euros, "1", "0"))
        tamper(case, opened_at=at - timedelta(hours=hours), stage=stage)
    escrow.dispute(escrow.payment_in("funded", euros, "1", "0")).withdraw()
    overview = edb.trust_overview(2, at=at)
    assert [(total.days, total.currency_code, total.count, total.amount) for total in overview.due] == [
        (0, "USD", 2, Decimal("0.3")),
        (1, "USD", 1, 4),
        (2, "EUR", 1, 8),
    ]
    assert [(row.stage, row.days, row.count) for row in overview.cases] == [
        ("intake", 1, 2),
        ("intake", None, 1),
        ("mediation", 3, 1),
    ]
    assert overview.pending_release == {"USD": Decimal("50.3"), "EUR": 13}
    assert overview.totals == edb.escrow_totals()
    assert overview.at == at


def test_an_overview_takes_three_queries():
    for _ in range(5):
        escrow.payment_in("disputed")
    with count_queries() as counted:
        edb.trust_overview(31)
    assert counted.count == 3


@pytest.mark.parametrize("days", [0, 32, "7"])
def test_an_overview_refuses_days_out_of_bounds(days):
    with pytest.raises(edb.RefusedValue, match="due_within_days"):
        edb.trust_overview(days)
