"""Checks and foreign key names in the text of a CREATE TABLE, which SQLite's pragmas do not report."""

from collections.abc import Iterator

from engagement_db.sql_tokens import Token, matches, tokens, unquoted
from engagement_db.tables import Check


def is_plain(sql: str) -> bool:
    """Return whether a CREATE TABLE text ends with the parenthesis that closes it: no option follows."""
    return sql.endswith(")") and tokens(sql)[-1][1] == ")"


def table_checks(table: str, sql: str) -> Iterator[Check]:
    """Yield every check of a CREATE TABLE text, in order; one without a name is named by its number."""
    found = tokens(sql)
    number = 0
    for position, (_, token) in enumerate(found):
        if token.upper() != "CHECK" or found[position + 1][1] != "(":
            continue
        number += 1
        named = position >= 2 and found[position - 2][1].upper() == "CONSTRAINT"
        name = unquoted(found[position - 1][1]) if named else f"{table}_check_{number}"
        inner = found[position + 2 : _closing(found, position + 1)]
        yield Check(name, " ".join(f'"{unquoted(token)}"' if kind == "name" else token for kind, token in inner))


def _closing(found: list[Token], position: int) -> int:
    """Return the position of the parenthesis that closes the one at ``position``."""
    depth = 0
    for end in range(position, len(found)):
        depth += {"(": 1, ")": -1}.get(found[end][1], 0)
        if depth == 0:
            return end
    raise AssertionError("a definition in sqlite_master has balanced parentheses")


def enum_labels(column: str, expression: str) -> tuple[str, ...]:
    """Return the labels of the check that emulates an enum type; none for any other expression."""
    found = tokens(expression)
    is_one_of = [token.upper() for _, token in found[1:3]] == ["IN", "("] and found[-1][1] == ")"
    labels, commas = found[3:-1:2], found[4:-1:2]
    if unquoted(found[0][1]) != column or not is_one_of:
        return ()
    if any(kind != "text" for kind, _ in labels) or any(token != "," for _, token in commas):
        return ()
    return tuple(token[1:-1].replace("''", "'") for _, token in labels)


def with_not_null(sql: str, column: str) -> str | None:
    """Return a CREATE TABLE text in which the column is NOT NULL, or None if the column is not found."""
    depth, end = 0, 0
    is_inside, previous = False, ""
    for match in matches(sql):
        token = match.group()
        if is_inside and depth == 1 and token in (",", ")"):
            return f"{sql[:end]} NOT NULL{sql[end:]}"
        if depth == 1 and previous in ("(", ",") and match.lastgroup in ("name", "word"):
            is_inside = unquoted(token) == column
        depth += {"(": 1, ")": -1}.get(token, 0)
        end, previous = match.end(), token
    return None


def foreign_key_names(sql: str) -> dict[str, str]:
    """Return the names of the named foreign keys of a CREATE TABLE text, by column."""
    found = tokens(sql)
    names = {}
    column = ""
    depth = 0
    for position, (kind, token) in enumerate(found):
        depth += {"(": 1, ")": -1}.get(token, 0)
        starts_item = position > 0 and depth == 1 and found[position - 1][1] in ("(", ",")
        if starts_item and kind in ("name", "word"):
            column = unquoted(token)
        if token.upper() != "CONSTRAINT" or position + 2 >= len(found):
            continue
        name, word = unquoted(found[position + 1][1]), found[position + 2][1].upper()
        if word == "REFERENCES":
            names[column] = name
        elif word == "FOREIGN":
            names[unquoted(found[position + 5][1])] = name
    return names
