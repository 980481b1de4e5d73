"""How often each verb of the trust suite waits for the server, BEGIN and COMMIT included."""

from decimal import Decimal
from types import FunctionType

import escrow
import pytest
import turns
from playhouse import db_url

import engagement_db as edb
from engagement_db.testing import make_user

# At most, on every server.
LIMITS = {
    "account.open, new": 4,
    "account.open, existing": 1,
    "account.activate": 4,
    "account.suspend, done before": 3,
    "account.close": 4,
    "account.edit": 4,
    "initiate": 4,
    "initiate, again": 5,
    "deposit": 7,
    "fund": 5,
    "fund, done before": 3,
    "hold": 4,
    "release": 5,
    "refund": 5,
    "cancel": 4,
    "edit": 4,
    "case.open": 7,
    "case.open, again": 5,
    "case.record": 4,
    "case.assign": 5,
    "case.edit": 5,
    "case.set_deadlines": 5,
    "case.set_status": 5,
    "case.advance": 5,
    "case.resolve": 7,
    "case.withdraw": 6,
    "four moves of a cycle": 18,
}
NO_VERBS = {"trace_repair", "require_funding", "funding_refusal"}


@pytest.fixture
def counter(database, url_of_tables):
    with turns.counted(url_of_tables) as counter:
        yield counter
    edb.bind(database)


def payment_by(home, **values):
    return edb.EscrowTransaction.initiate(
        home, amount=Decimal(100), fee_amount=Decimal(10), initiated_by=home.user_id, **values
    )


def cycle(home):
    payment = payment_by(home, reference="cycle")
    for verb in ("fund", "hold", "release"):
        getattr(payment, verb)(by=home.user_id)


def verbs():
    """Return each verb with the rows that it needs already there."""
    user, other = make_user(), make_user()
    home = edb.EscrowAccount.open(user, "stripe")
    suspended = escrow.account()
    suspended.suspend()
    waiting, funded, returned, due = map(escrow.payment_in, ("initiated", "funded", "funded", "in_escrow"))
    again, unwanted = escrow.payment(home, reference="again"), escrow.payment(home)
    disputed = [escrow.payment_in("disputed") for _ in range(2)]
    resolved, withdrawn = (payment.dispute_cases.get() for payment in disputed)
    case = escrow.dispute(escrow.payment_in("in_escrow"))
    to_dispute = escrow.payment_in("in_escrow")
    return {
        "account.open, new": lambda: edb.EscrowAccount.open(other, "stripe"),
        "account.open, existing": lambda: edb.EscrowAccount.open(user, "stripe"),
        "account.activate": escrow.account().activate,
        "account.suspend, done before": suspended.suspend,
        "account.close": escrow.account().close,
        "account.edit": lambda: home.edit(metadata={"a": 1}),
        "initiate": lambda: payment_by(home, reference="new"),
        "initiate, again": lambda: escrow.payment(home, reference=again.reference),
        "deposit": lambda: edb.EscrowTransaction.deposit(home, reference="d", amount=Decimal(5), initiated_by=user),
        "fund": lambda: waiting.fund(by=user),
        "fund, done before": lambda: funded.fund(by=user),
        "hold": lambda: funded.hold(by=user),
        "release": lambda: due.release(by=user),
        "refund": lambda: returned.refund(by=user),
        "cancel": lambda: unwanted.cancel(by=user),
        "edit": lambda: again.edit(by=user, milestone_label="half"),
        "case.open": lambda: edb.DisputeCase.open(to_dispute, user, "late", "Nothing came."),
        "case.open, again": lambda: escrow.dispute(case.escrow_transaction),
        "case.record": lambda: case.record(notes="Hello.", by=user),
        "case.assign": lambda: case.assign(other, by=user),
        "case.edit": lambda: case.edit(by=user, summary="It came late."),
        "case.set_deadlines": lambda: case.set_deadlines(
            customer_deadline_at=edb.now(), provider_deadline_at=None, by=user
        ),
        "case.set_status": lambda: case.set_status("under_review", by=user),
        "case.advance": lambda: case.advance("mediation", by=user),
        "case.resolve": lambda: resolved.resolve("refund", "Yes.", by=user),
        "case.withdraw": lambda: withdrawn.withdraw(by=user),
        "four moves of a cycle": lambda: cycle(home),
    }


@pytest.mark.parametrize("name", LIMITS)
def test_a_verb_waits_for_the_server_at_most_so_often(counter, name):
    assert counter.of(verbs()[name]) <= LIMITS[name]


def test_sessions_of_the_service_cost_mysql_and_mariadb_one_more_round_trip(database, url_of_tables, server):
    # They may have another isolation, which SET TRANSACTION makes READ COMMITTED for the transaction that follows.
    payment = escrow.payment_in("initiated")
    extra = 1 if server.name in ("mysql", "mariadb") else 0
    with turns.counted(url_of_tables, database_of_a_service) as counter:
        assert counter.of(payment.fund) <= LIMITS["fund"] + extra
    edb.bind(database)


def database_of_a_service(url):
    return edb.bind(db_url.connect(url.replace("mariadb:", "mysql:", 1).replace("+psycopg:", ":", 1)))


def test_all_verbs_have_a_limit(database):
    assert set(verbs()) == set(LIMITS)


@pytest.mark.parametrize(
    ("prefix", "model"),
    [("account.", edb.EscrowAccount), ("", edb.EscrowTransaction), ("case.", edb.DisputeCase)],
    ids=["accounts", "transactions", "cases"],
)
def test_every_verb_has_a_limit(prefix, model):
    methods = {name for name, value in vars(model).items() if isinstance(value, FunctionType | classmethod)}
    verbs = {f"{prefix}{name}" for name in methods - NO_VERBS if not name.startswith("_")}
    assert verbs <= {limit.partition(",")[0] for limit in LIMITS}
