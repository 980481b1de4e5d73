"""A check that a server gives back in a spelling of its own is known again, and only that one."""

from check_expressions import INTEGERS, MONEY, VARCHAR, expressions
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engagement_db import servers, tables
from engagement_db.expressions import same
from engagement_db.servers.driver import execute

COLUMNS = (
    tables.key(),
    *(tables.integer(name, null=True) for name in INTEGERS),
    tables.money(MONEY, null=True),
    tables.varchar(VARCHAR, 60, null=True),
    tables.enum("mood", ["good", "bad"]),
    tables.time("at"),
)


def read_back(live, declared):
    """The expressions of these checks as the server gives them back."""
    checks = tuple(tables.Check(f"rule_{number}", expression) for number, expression in enumerate(declared))
    shape = tables.Table("ruled", COLUMNS, checks=checks)
    server = servers.of(live)
    for statement in server.create_statements(shape):
        execute(live, statement)
    found = servers.read(live).table("ruled")
    for statement in server.drop_statements(shape):
        execute(live, statement)
    return [found.check(check.name).expression for check in checks]


# Without shrinking, which creates tables for minutes.
@settings(max_examples=12, phases=[Phase.reuse, Phase.generate])
@given(st.lists(expressions, min_size=12, max_size=12))
def test_any_check_is_recognized_and_mistaken_for_no_other(live, declared):
    found = read_back(live, declared)
    known = [[same(one, other) for other in found] for one in declared]
    assert known == [[same(one, other) for other in declared] for one in declared]


WRITTEN_WITH_CARE = [
    '"a">0 AND ("b">0 OR "amount">0)',
    '("a">0 AND "b">0) OR "amount">0',
    "\"word\" <> 'Fax '",
    "\"word\" <> 'fax'",
    "\"word\" = 'it''s \"é\"'",
    "\"mood\" <> 'bad'",
    "\"mood\" IN ('bad', 'good')",
    '"at" IS NOT NULL OR "a" > 0',
    "\"word\" LIKE 'a!_%' ESCAPE '!'",
    '"a" > "amount"',
    '"amount" / 2 >= 0.5',
    "nullif(\"word\", '') IS NOT NULL",
    "trim(\"word\") <> ''",
    'CASE "mood" WHEN \'bad\' THEN "a" END > 0',
]


def test_each_server_gives_a_check_back_in_one_spelling(live):
    found = read_back(live, WRITTEN_WITH_CARE)
    assert [same(one, other) for one, other in zip(WRITTEN_WITH_CARE, found, strict=True)] == [True] * len(found)
    assert found[:4] == [
        '"a" > 0 AND ("b" > 0 OR "amount" > 0)',
        '"a" > 0 AND "b" > 0 OR "amount" > 0',
        "\"word\" <> 'Fax '",
        "\"word\" <> 'fax'",
    ]
