"""Two check expressions are equal if they accept the same rows, however a server spells them, and only then."""

import contextlib
import itertools
import re
import sqlite3

import pytest
from check_expressions import expressions
from hypothesis import assume, given
from hypothesis import strategies as st

from engagement_db.expressions import normalized, parse, same

DIFFERENT = [
    ("a>0 AND (b>0 OR c>0)", "(a>0 AND b>0) OR c>0"),
    ("a>0 AND b>0 OR c>0", "a>0 AND (b>0 OR c>0)"),
    ("NOT (a>0 AND b>0)", "NOT a>0 AND b>0"),
    ("(a + b) * 2 > 3", "a + b * 2 > 3"),
    ("a - (b - c) > 0", "a - b - c > 0"),
    ("word <> 'Fax '", "word <> 'fax '"),
    ("word <> 'Fax '", "word <> 'Fax'"),
    ("word <> 'a b'", "word <> 'ab'"),
    ("word <> '(a)'", "word <> 'a'"),
    ("word <> '1'", "word <> 1"),
    ("word IN ('a', 'b')", "word IN ('a')"),
    ("word IN ('a', 'b')", "word NOT IN ('a', 'b')"),
    ("word = 'it''s'", "word = 'its'"),
    ("word LIKE 'a!%' ESCAPE '!'", "word LIKE 'a!%'"),
    ("a > 10", "a > 1"),
    ("a > 1.5", "a > 15"),
    ("a > 5", "a > -5"),
    ("a >= b", "b >= a"),
    ("a BETWEEN 1 AND 2 OR b > 0", "a >= 1 AND (a <= 2 OR b > 0)"),
    ('"userId" > 0', '"userid" > 0'),
    ("a::integer > 0", "a > 0"),
    ("a::numeric / 2 > 1", "a / 2 > 1"),
    ("mood::text < 'b'", "mood < 'b'"),
    ("coalesce(a, b) > 0", "coalesce(b, a) > 0"),
    ("CASE WHEN a > 0 THEN 1 ELSE 2 END > b", "CASE WHEN a > 0 THEN 2 ELSE 1 END > b"),
    ("a IN (SELECT b FROM c)", "a IN (SELECT c FROM b)"),
    ("a & (b | c) > 0", "a & b | c > 0"),
    ("a / 2.0 > 1", "a / 2 > 1"),
    ("a * 1.0 / 2 > 1", "a * 1 / 2 > 1"),
    ("a / 1e3 > 1", "a / 1000 > 1"),
    ("a > CAST(5.7 AS integer)", "a > 5.7"),
    ("a > CAST('5.7' AS integer)", "a > 5.7"),
    ("word = CAST(5 AS text)", "word = 5"),
    ("word = CAST('A' AS integer)", "word = 'A'"),
    ("CAST(amount AS bigint) > 0", "amount > 0"),
    ("CAST(a AS numeric) + b > 0", "a + b > 0"),
    # SQLite compares the order first, MySQL from the left.
    ("a = b < c", "(a = b) < c"),
    ("a = b < c", "a = (b < c)"),
    # MySQL takes the operands of IN first, SQLite compares from the left.
    ("a = b IN (1, 2)", "(a = b) IN (1, 2)"),
    ("a = b IN (1, 2)", "a = (b IN (1, 2))"),
]
SPELLINGS = [
    ("a>0 AND (b>0 OR c>0)", "((a > 0) AND ((b > 0) OR (c > 0)))", "`a` > 0 and (`b` > 0 or `c` > 0)"),
    ("(a>0 AND b>0) OR c>0", "(((a > 0) AND (b > 0)) OR (c > 0))", "`a` > 0 and `b` > 0 or `c` > 0"),
    ("a > 0 AND (b > 0 AND c > 0)", "a > 0 and b > 0 and c > 0"),
    ('"userId" > 0', "`userId` > 0", "[userId] > 0"),
    ('"total" >= 0', "(total >= (0)::numeric)", "((total >= 0.0))"),
    ("a > amount", "((a)::numeric > amount)"),
    ("a / amount > 2", "(((a)::numeric / amount) > (2)::numeric)"),
    ("a >= -5", "(a >= '-5'::integer)", "(a >= -(5))", "a >= - 5"),
    ("a > -(-5)", "a > 5"),
    ("a / 2.0 > 1", "(((a)::numeric / 2.0) > (1)::numeric)"),
    ("a / 1e3 > 1", "(((a)::numeric / '1000'::numeric) > (1)::numeric)"),
    ("amount / 2 > 1", "((amount / (2)::numeric) > (1)::numeric)"),
    ("coalesce(a, amount) > 0", "(COALESCE((a)::numeric, amount) > (0)::numeric)"),
    (
        "CASE WHEN a > 0 THEN amount ELSE 0 END > 1",
        "CASE WHEN (a > 0) THEN amount ELSE (0)::numeric END > (1)::numeric",
    ),
    ("coalesce(word, '') <> 'x'", "((COALESCE(word, ''::character varying))::text <> 'x'::text)"),
    ("at > '2000-01-01 00:00:00'", "(at > '2000-01-01 00:00:00+00'::timestamp with time zone)"),
    ("(a IS NULL) = (b IS NULL)", "`a` is null = (`b` is null)"),
    ("(a > 0) = (b > 0)", "`a` > 0 = (`b` > 0)"),
    ("amount = round(amount)", "`amount` = round(`amount`,0)"),
    ("amount >= 1e3", "(amount >= '1000'::numeric)"),
    ("word <> 'Fax '", "((word)::text <> 'Fax '::text)", "(`word` <> _utf8mb4'Fax ')"),
    (
        "word IN ('a', 'it''s')",
        "((word)::text = ANY ((ARRAY['a'::character varying, 'it''s'::character varying])::text[]))",
        "`word` in ('a','it''s')",
    ),
    ("mood IN ('a', 'b')", "mood = ANY (ARRAY['a'::\"enum_posts_mood\", 'b'::\"enum_posts_mood\"])"),
    (
        "word NOT IN ('a', 'b')",
        "((word)::text <> ALL ((ARRAY['a'::character varying, 'b'::character varying])::text[]))",
    ),
    ("word IN ('a')", "((word)::text = 'a'::text)"),
    ("a BETWEEN 1 AND 5", "((a >= 1) AND (a <= 5))"),
    ("a NOT BETWEEN 1 AND 5", "((a < 1) OR (a > 5))", "NOT (a BETWEEN 1 AND 5)"),
    ("NOT (a > 0 AND b > 0)", "a <= 0 or b <= 0"),
    ("NOT (word LIKE 'x%')", "`word`  not like 'x%'", "(NOT ((word)::text ~~ 'x%'::text))", "word !~~ 'x%'"),
    ("word LIKE 'a!%' ESCAPE '!'", "((word)::text ~~ like_escape('a!%'::text, '!'::text))"),
    ("NOT (a IS NULL)", "a IS NOT NULL"),
    ("a != b", "a <> b"),
    ("LOWER(word) = word", "(lower((word)::text) = (word)::text)", "lcase(`word`) = `word`"),
    ("trim(word) <> ''", "(TRIM(BOTH FROM word) <> ''::text)", "(btrim((word)::text) <> ''::text)"),
    ("CASE WHEN a > 0 THEN b END > 0", "(\nCASE\n    WHEN (a > 0) THEN b\n    ELSE NULL::integer\nEND > 0)"),
    ("a > 0 -- comment\n AND b > 0", "/* one */ a > 0 AND b > 0"),
]
COLUMNS = {"word": "text", "amount": "numeric"}
ROWS = list(itertools.product((None, -1, 1, 5), (None, 0, 2), (None, 0.5, 100), (None, "", "a", "A x")))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_another_meaning_is_another_expression(one, other):
    assert not same(one, other)
    assert same(one, one)


@pytest.mark.parametrize("spellings", SPELLINGS, ids=lambda spellings: spellings[0])
def test_a_spelling_does_not_matter(spellings):
    trees = [parse(spelling, COLUMNS) for spelling in spellings]
    assert trees == [trees[0]] * len(trees)


@given(expressions)
def test_the_normalized_spelling_is_the_same_expression(expression):
    spelled = normalized(expression)
    assert same(spelled, expression)
    assert normalized(spelled) == spelled
    assert parse(spelled)[0] != "tokens", "the parser understands every declared expression"


@given(expressions, st.data())
def test_equal_expressions_accept_the_same_rows(expression, data):
    other = data.draw(altered(expression))
    assume(same(expression, other))
    assert accepted(other) == accepted(expression)


def altered(expression):
    """The expression with an outer NOT, without one pair of parentheses, with a word or a sign in place of another."""
    places = [match.span() for match in re.finditer(r"\((?:[^()']|'[^']*')*\)", expression)]
    unwrapped = [
        expression[:start] + f" {expression[start + 1 : end - 1]} " + expression[end:] for start, end in places
    ]
    swapped = [
        expression.replace(one, other, 1)
        for one, other in (("AND", "OR"), ("OR", "AND"), ("<", ">"), ("A", "a"), (" '", "'"), ("NOT", ""), ("1", "-1"))
    ]
    return st.sampled_from(
        [f"NOT ({expression})", f"NOT NOT ({expression})", normalized(expression), *unwrapped, *swapped]
    )


def accepted(expression):
    """The rows that a check of this expression accepts in SQLite; None if it is no expression."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE rows (a INTEGER, b INTEGER, amount DECIMAL(18, 4), word TEXT)")
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", ROWS)
        with contextlib.suppress(sqlite3.OperationalError):
            return connection.execute(f"SELECT rowid FROM rows WHERE NOT ({expression}) ORDER BY rowid").fetchall()
