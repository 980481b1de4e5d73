"""What SQLite's pragmas leave out of a CREATE TABLE text: its checks and the names of its keys."""

import re
from collections.abc import Iterator

from engagement_db.tables import Check

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*') | (?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]) |
    (?P<word>[A-Za-z_][\w$]*) | (?P<comment>--[^\n]*|/\*.*?\*/) | (?P<other>[^\s])""",
    re.VERBOSE | re.DOTALL,
)


def _tokens(sql: str) -> list[tuple[str, str]]:
    return [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(sql) if match.lastgroup != "comment"]


def _plain(token: str) -> str:
    return token[1:-1].replace('""', '"').replace("``", "`") if token[0] in '"`[' else token


def is_plain(sql: str) -> bool:
    """Return whether a CREATE TABLE text ends with the parenthesis that closes it: no option follows."""
    return sql.endswith(")") and _tokens(sql)[-1][1] == ")"


def table_checks(table: str, sql: str) -> Iterator[Check]:
    """Yield every check of a CREATE TABLE text, in order; one without a name is named by its number."""
    tokens = _tokens(sql)
    number = 0
    for position, (_, token) in enumerate(tokens):
        if token.upper() != "CHECK" or tokens[position + 1][1] != "(":
            continue
        number += 1
        depth, end = 0, position + 1
        while True:
            depth += {"(": 1, ")": -1}.get(tokens[end][1], 0)
            if depth == 0:
                break
            end += 1
        named = position >= 2 and tokens[position - 2][1].upper() == "CONSTRAINT"
        name = _plain(tokens[position - 1][1]) if named else f"{table}_check_{number}"
        yield Check(name, _spelled(tokens[position + 2 : end]))


def _spelled(tokens: list[tuple[str, str]]) -> str:
    words = " ".join(f'"{_plain(token)}"' if kind == "name" else token for kind, token in tokens)
    words = re.sub(r"(\w) \(", lambda match: match[1] + ("(" if match[1].islower() else " ("), words)
    words = words.replace("( ", "(").replace(" )", ")").replace(" ,", ",")
    return re.sub(r"([<>]) =", r"\1=", words)


def foreign_key_names(sql: str) -> dict[str, str]:
    """Return the names of the named foreign keys of a CREATE TABLE text, by column."""
    tokens = _tokens(sql)
    names = {}
    column = ""
    depth = 0
    for position, (kind, token) in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token, 0)
        starts_item = position > 0 and depth == 1 and tokens[position - 1][1] in "(,"
        if starts_item and kind in ("name", "word"):
            column = _plain(token)
        if token.upper() != "CONSTRAINT" or position + 2 >= len(tokens):
            continue
        name, word = _plain(tokens[position + 1][1]), tokens[position + 2][1].upper()
        if word == "REFERENCES":
            names[column] = name
        elif word == "FOREIGN":
            names[_plain(tokens[position + 5][1])] = name
    return names
