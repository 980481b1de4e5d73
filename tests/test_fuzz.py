"""Hostile values for every public callable: an error of the documented kinds or a result, and no partial write.

Each parameter of each callable is given each hostile value, the other parameters are valid. The four servers take
turns at these calls, so that together they make each once; with ENGAGEMENT_DB_EVERY_POINT each server makes them all.
`FUZZ_SEED` deals them otherwise.
"""

import contextlib
import inspect
import itertools
import os
import random
import signal
import types
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import escrow
import peewee
import servers
from feed_rows import a_post

import engagement_db as edb
from engagement_db.orm.models import BaseModel
from engagement_db.testing import make_user

EVERY_POINT = bool(os.environ.get("ENGAGEMENT_DB_EVERY_POINT"))
FUZZ_SEED = os.environ.get("FUZZ_SEED", "0")
EXPECTED = (edb.EngagementError, TypeError, ValueError)
# These bind the models, look at a database as a whole or register a function for the whole process; the methods are
# building blocks that take peewee's expressions, or whose errors are those of an INSERT.
ELSEWHERE = {
    "bind",
    "bind_ctx",
    "connect",
    "open_database",
    "read_from",
    "now",
    "is_current",
    "on_move",
    "remove_move_listener",
    "verify",
    "EscrowAccount.funding_refusal",
    "EscrowAccount.require_funding",
    "FeedActivityLog.record",
    "FeedComment.live",
    "Page.among",
    "Page.with_parent",
    "TimelinePage.among",
    "TimelinePage.with_parent",
}


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def circular():
    value = []
    value.append(value)
    return value


HOOKS = {"trace_repair"}


class Text(str):
    pass


# Each is made anew for each call, since a generator is used up.
HOSTILE = {
    "None": lambda: None,
    "True": lambda: True,
    "zero": lambda: 0,
    "minus one": lambda: -1,
    "four bytes": lambda: 2**31,
    "eight bytes": lambda: 2**63,
    "huge": lambda: 10**5000,
    "fraction": lambda: 0.5,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "complex": lambda: 1j,
    "decimal nan": lambda: Decimal("NaN"),
    "signalling nan": lambda: Decimal("sNaN"),
    "decimal infinity": lambda: Decimal("-Infinity"),
    "huge decimal": lambda: Decimal("1e400"),
    "tiny decimal": lambda: Decimal("1e-400"),
    "empty": lambda: "",
    "blank": lambda: " \t\n",
    "word": lambda: "x",
    "long": lambda: "x" * 70_000,
    "NUL": lambda: "a\x00b",
    "surrogate": lambda: "\ud800",
    "emoji": lambda: "🚀" * 30,
    "quotes": lambda: "'\"`;--",
    "placeholders": lambda: "%s ? :1 {0}",
    "digits": lambda: "１２",
    "subclass of text": lambda: Text("x"),
    "bytes": lambda: b"\xff",
    "object": object,
    "type": lambda: int,
    "function": lambda: lambda: 1,
    "list": lambda: [1, None, "x"],
    "nested": lambda: nested(5000),
    "circular": circular,
    "dict": lambda: {1: object()},
    "set": lambda: {1},
    "range": lambda: range(10**12),
    "generator": lambda: (number for number in [1, "x"]),
    "endless": itertools.count,
    "naive": lambda: datetime(2024, 1, 1),
    "before all time": lambda: datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    "after all time": lambda: datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    "date": lambda: date(2024, 1, 1),
    "timedelta": lambda: timedelta(days=1),
    "another enum": lambda: edb.ReactionType.LOVE,
    "unknown label": lambda: edb.Unknown("held", edb.TransactionStatus),
    "JSON null": lambda: edb.JSON_NULL,
    "unsaved user": edb.User,
    "unsaved post": edb.FeedPost,
    "stored gig": lambda: edb.Gig.get(),
    "model": lambda: edb.User,
    "field": lambda: edb.User.id,
    "expression": lambda: edb.User.id + 1,
    "SQL": lambda: peewee.SQL("no_such_column"),
    "query": lambda: edb.User.select(),
    "database function": lambda: peewee.fn.no_such_function(1),
}


@contextlib.contextmanager
def ended_after(seconds):
    """Interrupt the block if it takes longer: a hostile value may keep a call busy for ever."""

    def interrupt(*_):
        raise TimeoutError(f"took more than {seconds} s")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class World:
    """Rows in many states, and valid arguments by the name of a parameter."""

    def __init__(self):
        self.user, other = make_user(), make_user("bob")
        gig, project = edb.Gig.create(title="Logo"), edb.Project.create(title="Site")
        post = a_post(self.user, metadata={"a": 1})
        comment = edb.FeedComment.reply(post, other, "first")
        deleted = edb.FeedComment.reply(post, other, "second")
        deleted.soft_delete(self.user, "spam")
        reaction = edb.FeedReaction.react(post, other).reaction
        share = edb.FeedShare.share(post, other, "mail")
        home, empty = escrow.account(), escrow.account()
        initiated = escrow.payment(home)
        in_escrow = escrow.payment_in("in_escrow", home)
        case = escrow.dispute(escrow.payment_in("funded", home))
        page = edb.FeedPost.timeline()
        self.rows = {
            edb.User: [self.user],
            edb.Project: [project],
            edb.Gig: [gig],
            edb.FeedPost: [post],
            edb.FeedReaction: [reaction],
            edb.FeedComment: [comment, deleted],
            edb.FeedShare: [share],
            edb.FeedActivityLog: [edb.FeedActivityLog.get()],
            edb.EscrowAccount: [home, empty],
            edb.EscrowTransaction: [initiated, in_escrow],
            edb.DisputeCase: [case],
            edb.DisputeEvent: [case.events.get()],
            edb.Page: [page],
            edb.TimelinePage: [page],
        }
        numbers = itertools.count(1)
        self.valid = {
            "account": lambda: home,
            "action": lambda: "noted",
            "actor": lambda: other,
            "amount": lambda: Decimal(7),
            "at": lambda: datetime.now(UTC),
            "body": lambda: "hello",
            "case": lambda: case,
            "channel": lambda: "mail",
            "channels": lambda: ["mail"],
            "content": lambda: "hello",
            "currency_code": lambda: "USD",
            "customer_deadline_at": lambda: datetime.now(UTC),
            "escrow_transaction": lambda: in_escrow,
            "hours": lambda: 24,
            "initiated_by": lambda: other,
            "notes": lambda: "because",
            "opened_by": lambda: other,
            "owners": lambda: [other],
            "page": lambda: 1,
            "post": lambda: post,
            "posts": lambda: [post],
            "projects": lambda: [project],
            "provider": lambda: "stripe",
            "provider_deadline_at": lambda: None,
            "reason": lambda: "because",
            "reason_code": lambda: "late",
            "reference": lambda: f"F-{next(numbers)}",
            "resolution": lambda: edb.Resolution.REFUND,
            "row": lambda: initiated,
            "since": lambda: datetime(2024, 1, 1, tzinfo=UTC),
            "stage": lambda: edb.DisputeStage.MEDIATION,
            "status": lambda: edb.DisputeStatus.UNDER_REVIEW,
            "summary": lambda: "Nothing came.",
            "until": lambda: datetime.now(UTC),
            "user": lambda: other,
            "viewer": lambda: other,
            "work": lambda: lambda: None,
        }


def own_methods(owner):
    """The public methods of a class that this package defines, those of BaseModel and of peewee left out."""
    for base in owner.__mro__:
        if base.__module__.startswith("engagement_db.") and base is not BaseModel:
            for name, attribute in vars(base).items():
                function = getattr(attribute, "__func__", attribute)
                if isinstance(function, types.FunctionType) and not name.startswith("_") and name not in HOOKS:
                    yield name, isinstance(attribute, classmethod), function


def callables(world):
    """Each public callable: its name, a function that returns it anew, and its parameters by name."""
    for public in edb.__all__:
        value = getattr(edb, public)
        if isinstance(value, types.FunctionType) and public not in ELSEWHERE:
            yield public, lambda value=value: value, parameters(value)
        elif isinstance(value, type) and issubclass(value, BaseModel | edb.Page):
            for name, is_of_class, function in own_methods(value):
                if f"{public}.{name}" in ELSEWHERE:
                    continue
                # The methods of other pages are those of Page; what returns one is tried by name.
                owners = [value] if is_of_class else world.rows.get(value, [])
                assert owners or issubclass(value, edb.Page), f"add a row of {public} to World"
                for owner in owners:
                    taken = list(parameters(function).values())[1:]
                    yield (
                        f"{public}.{name}",
                        lambda owner=owner, name=name: getattr(fresh(owner), name),
                        {parameter.name: parameter for parameter in taken},
                    )


def fresh(owner):
    """The class itself, a row as it is stored now, or a page that was not read yet."""
    if isinstance(owner, edb.Page):
        return edb.FeedPost.timeline()
    return type(owner).get_by_id(owner.id) if isinstance(owner, peewee.Model) else owner


def parameters(function):
    return inspect.signature(function).parameters


def is_required(parameter):
    is_variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    return parameter.default is parameter.empty and not is_variable


def calls(world):
    """Each call: its name, the callable, the valid arguments and the parameter that gets the hostile value."""
    for name, get, taken in callables(world):
        required = {parameter.name for parameter in taken.values() if is_required(parameter)}
        missing = required - world.valid.keys() - {"by"}
        assert missing == set(), f"{name} takes {missing}: add a valid value to World"
        # Which database a query is sent to is not a value.
        for victim, kind in itertools.product(sorted(taken.keys() - {"database"}), HOSTILE):
            yield name, get, taken, victim, kind


def arguments(world, taken, victim, hostile):
    """The arguments of one call, by position and by name."""
    positional, named = [], {}
    for parameter in taken.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += [hostile] if parameter.name == victim else []
        elif parameter.kind is parameter.VAR_KEYWORD:
            named |= {"status": hostile} if parameter.name == victim else {}
        elif parameter.name == victim:
            named[parameter.name] = hostile
        elif parameter.default is parameter.empty:
            named[parameter.name] = None if parameter.name == "by" else world.valid[parameter.name]()
    if positional:
        return positional, {}
    return positional, named


def consume(result):
    """Read what a call returns as its user would: a query sends its SQL only then."""
    if isinstance(result, edb.Page):
        assert result.next_cursor is None or result.next_cursor
    if isinstance(result, peewee.BaseQuery):
        list(result)
    repr(result)


# What these send changes no row.
CHANGES_NOTHING = ("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "SET", "PRAGMA")


class Statements:
    """Notes whether a session has sent anything that may have changed a row."""

    def __init__(self, database, monkeypatch):
        self.may_have_written = False
        self._execute_sql = database.execute_sql
        monkeypatch.setattr(database, "execute_sql", self._note)

    def _note(self, sql, *arguments, **options):
        self.may_have_written |= not sql.lstrip().upper().startswith(CHANGES_NOTHING)
        return self._execute_sql(sql, *arguments, **options)


def stored():
    return {model: list(model.select().order_by(model.id).tuples()) for model in edb.MODELS}


def test_hostile_values_give_an_error_of_the_library_and_no_partial_write(
    server, database, monkeypatch, record_property
):
    world = World()
    before = stored()
    statements = Statements(database, monkeypatch)
    possible = list(calls(world))
    random.Random(FUZZ_SEED).shuffle(possible)
    planned = possible if EVERY_POINT else possible[servers.NAMES.index(server.name) :: len(servers.NAMES)]
    wrong = []
    for name, get, taken, victim, kind in planned:
        place = f"{name}({victim}={kind})"
        raised = None
        with database.atomic() as outer:
            statements.may_have_written = False
            positional, named = arguments(world, taken, victim, HOSTILE[kind]())
            try:
                with ended_after(10):
                    consume(get()(*positional, **named))
            except Exception as error:
                raised = error
            after = before
            try:
                if raised is not None and statements.may_have_written:
                    after = stored()
                elif raised is not None:
                    database.execute_sql("SELECT 1")
            except peewee.DatabaseError as error:
                wrong.append(f"{place}: left the transaction broken: {error}")
            outer.rollback()
        if raised is not None and not isinstance(raised, EXPECTED):
            wrong.append(f"{place}: {type(raised).__name__}: {raised}"[:300])
        if after != before:
            wrong.append(f"{place}: {type(raised).__name__} after a partial write")
    record_property("sample", f"{server.name}, hostile values: {len(planned):,} of {len(possible):,} calls")
    assert not wrong, "\n".join(wrong)
    assert stored() == before
    assert len(planned) > 50
