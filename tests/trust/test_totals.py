"""Totals over transactions are exact, and few queries whatever the number of rows."""

from decimal import Decimal

import escrow
import pytest
from playhouse.test_utils import count_queries

import engagement_db as edb

pytestmark = pytest.mark.usefixtures("database")


def test_totals_by_status_owner_and_project():
    owner, home = escrow.user(), escrow.account()
    site, shop = edb.Project.create(title="Site", owner=owner), edb.Project.create(title="Shop", owner=owner)
    other = edb.Project.create(title="Other", owner=escrow.user())
    for project, amount in ((site, 1), (site, 2), (shop, 4), (other, 8), (None, 16)):
        escrow.payment(home, amount, "0.5", project=project).fund()
    escrow.payment(home, 32, "1", project=site)

    def shown(totals):
        return sorted((t.status, t.currency_code, t.count, t.amount, t.fee_amount, t.net_amount) for t in totals)

    assert shown(edb.escrow_totals_by_owner([owner])) == [
        ("funded", "USD", 3, 7, Decimal("1.5"), Decimal("5.5")),
        ("initiated", "USD", 1, 32, 1, 31),
    ]
    by_project = edb.escrow_totals_by_project([site, shop.id])
    assert {(t.project_id, t.status): t.amount for t in by_project} == {
        (site.id, "funded"): 3,
        (site.id, "initiated"): 32,
        (shop.id, "funded"): 4,
    }
    assert {t.status: t.amount for t in edb.escrow_totals()} == {"funded": 31, "initiated": 32}
    assert edb.escrow_totals_by_owner([]) == []


def test_totals_take_one_query():
    for _ in range(5):
        escrow.payment_in("funded")
    with count_queries() as counted:
        edb.escrow_totals()
    assert counted.count == 1
