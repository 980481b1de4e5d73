"""SQL text as tokens, whichever server spelled it; quoted names and literals."""

import re
from typing import Final

Token = tuple[str, str]

_TOKEN: Final = r"""
    (?P<text>'(?:[^']|'')*')
  | (?P<name>"(?:[^"]|"")*" | `(?:[^`]|``)*` | (?<!ARRAY)\[[^\]]+\])
  | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)? | \.\d+(?:[eE][+-]?\d+)?)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<comment>--[^\n]* | /\*.*?\*/)
  | (?P<sign><=>|<>|<=|>=|!=|==|\|\||::|->>|->|<<|>>|!?~~\*?|\S)
"""


def tokens(sql: str) -> list[Token]:
    """Return the (kind, token) pairs of ``sql`` without its comments; kinds are text, name, number, word and sign."""
    return [(match.lastgroup or "", match.group()) for match in matches(sql)]


def matches(sql: str) -> list[re.Match[str]]:
    """Return the tokens of ``sql`` with their places in it; the kind of each is its ``lastgroup``."""
    found = re.finditer(_TOKEN, sql, re.VERBOSE | re.DOTALL)
    return [match for match in found if match.lastgroup != "comment"]


def unquoted(token: str) -> str:
    """Return an identifier without its quotes, a word as it is."""
    return token[1:-1].replace('""', '"').replace("``", "`") if token[0] in '"`[' else token


def literal(value: str) -> str:
    """Return ``value`` as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"
