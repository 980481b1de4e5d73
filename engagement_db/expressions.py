"""Check expressions as trees, and what makes two of them equal.

Each server gives a check back in a spelling of its own: with casts, more or fewer parentheses, other quotes, ``IN`` as
``= ANY (ARRAY[...])``, ``BETWEEN`` as two comparisons, ``NOT`` moved inwards. Two expressions are equal if their trees
are; literals and grouping always count. An expression that is not understood equals only the same tokens.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

Token = tuple[str, str]
Tree = tuple["str | Tree", ...]

_TOKEN: Final = r"""
    (?P<text>'(?:[^']|'')*')
  | (?P<name>"(?:[^"]|"")*" | `(?:[^`]|``)*` | (?<!ARRAY)\[[^\]]+\])
  | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)? | \.\d+(?:[eE][+-]?\d+)?)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<comment>--[^\n]* | /\*.*?\*/)
  | (?P<sign><=>|<>|<=|>=|!=|==|\|\||::|->>|->|<<|>>|!?~~\*?|\S)
"""
_INVERSE: Final = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_SAME_SIGN: Final = {"!=": "<>", "==": "="}
_SAME_FUNCTION: Final = {"lcase": "lower", "ucase": "upper", "btrim": "trim"}
# PostgreSQL adds these casts where an integer meets another number. They change a value only in a division.
_WIDER_NUMBERS: Final = ("numeric", "bigint", "double precision")
_NUMBERS: Final = (*_WIDER_NUMBERS, "integer", "smallint", "real")
_NULL: Final[Tree] = ("word", "null")
_RANK: Final = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6, "||": 7, "->": 7, "->>": 7}
_ATOM: Final = 9


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


def same(one: str, other: str) -> bool:
    """Return whether two check expressions are equal, whichever server spelled them."""
    return parse(one) == parse(other)


def normalized(sql: str, columns: Mapping[str, str] | None = None) -> str:
    """Return an expression in the spelling of the revisions: double-quoted columns, no needless parentheses."""
    return _spelled(parse(sql, columns))


def parse(sql: str, columns: Mapping[str, str] | None = None) -> Tree:
    """Return the tree of an expression.

    ``columns`` says which columns are ``"text"`` and which ``"numeric"``, because PostgreSQL adds casts around them.
    """
    return _parse(sql, tuple((columns or {}).items()))


@lru_cache(maxsize=256)
def _parse(sql: str, columns: tuple[tuple[str, str], ...]) -> Tree:
    found = tokens(sql)
    parser = _Parser(found, dict(columns))
    try:
        tree = parser.expression()
        parser.expect("")
    except _NotUnderstoodError:
        return ("tokens", *(_plain(kind, token) for kind, token in found))
    return tree


def _plain(kind: str, token: str) -> str:
    return token.lower() if kind == "word" else f'"{unquoted(token)}"' if kind == "name" else token


class _NotUnderstoodError(Exception):
    pass


class _Parser:
    """A parser by recursive descent: one method for each level of precedence, the loosest first."""

    def __init__(self, found: Sequence[Token], columns: Mapping[str, str]) -> None:
        self.tokens = [*found, ("end", "")]
        self.position = 0
        self.columns = columns

    def peek(self, ahead: int = 0) -> str:
        kind, token = self.tokens[min(self.position + ahead, len(self.tokens) - 1)]
        return token.lower() if kind == "word" else token if kind in ("sign", "end") else kind

    def take(self) -> Token:
        self.position += 1
        return self.tokens[self.position - 1]

    def accept(self, *words: str) -> bool:
        if tuple(self.peek(ahead) for ahead in range(len(words))) != words:
            return False
        self.position += len(words)
        return True

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise _NotUnderstoodError

    def expression(self) -> Tree:
        parts = [self.conjunction()]
        while self.accept("or"):
            parts.append(self.conjunction())
        return _joined("or", parts)

    def conjunction(self) -> Tree:
        parts = [self.negation()]
        while self.accept("and"):
            parts.append(self.negation())
        return _joined("and", parts)

    def negation(self) -> Tree:
        return _negated(self.negation()) if self.accept("not") else self.comparison()

    def comparison(self) -> Tree:
        left = self.operation(5)
        while True:
            sign = _SAME_SIGN.get(self.peek(), self.peek())
            if sign in _INVERSE:
                self.take()
                left = self._compared(sign, left)
            elif self.accept("is"):
                negative = self.accept("not")
                kind = self.take()[1].lower()
                if kind not in ("null", "true", "false", "unknown"):
                    raise _NotUnderstoodError
                left = _negated((f"is {kind}", left)) if negative else (f"is {kind}", left)
            elif sign in ("~~", "!~~"):
                self.take()
                left = _negated(self._liked(left)) if sign == "!~~" else self._liked(left)
            elif self.accept("not"):
                left = _negated(self._range(left))
            elif sign in ("in", "between", "like"):
                left = self._range(left)
            else:
                return left

    def _compared(self, sign: str, left: Tree) -> Tree:
        quantifier = self.peek()
        if quantifier not in ("any", "all"):
            return (sign, left, self.operation(5))
        self.take()
        self.expect("(")
        array = self.expression()
        self.expect(")")
        if array[0] != "array" or (sign, quantifier) not in (("=", "any"), ("<>", "all")):
            raise _NotUnderstoodError
        found = _among(left, array[1:])
        return found if sign == "=" else _negated(found)

    def _range(self, left: Tree) -> Tree:
        if self.accept("in"):
            self.expect("(")
            return _among(left, self.items(")"))
        if self.accept("between"):
            lowest = self.operation(5)
            self.expect("and")
            return _joined("and", [(">=", left, lowest), ("<=", left, self.operation(5))])
        self.expect("like")
        return self._liked(left)

    def _liked(self, left: Tree) -> Tree:
        pattern = self.operation(5)
        if pattern[:2] == ("call", "like_escape"):
            return ("like", left, *pattern[2:])
        return ("like", left, pattern, self.operation(5)) if self.accept("escape") else ("like", left, pattern)

    def operation(self, rank: int) -> Tree:
        """Return operators of this rank and tighter ones, each grouped from the left."""
        if rank > 7:
            return self.sign()
        left = self.operation(rank + 1)
        while _RANK.get(sign := {"mod": "%"}.get(self.peek(), self.peek())) == rank:
            self.take()
            right = self.operation(rank + 1)
            if sign != "/" or self._is_exact(left) or self._is_exact(right):
                left, right = _widened(left), _widened(right)
            left = (sign, left, right)
        return left if rank > 5 else _widened(left)

    def _is_exact(self, tree: Tree) -> bool:
        """Return whether an operand has decimal places without a cast, so that a division by it has them too."""
        match tree:
            case ("name", str(name)):
                return self.columns.get(name) == "numeric"
            case ("number", str(digits)):
                return "." in digits
            case ("cast", *_):
                return False
            case _:
                return any(isinstance(part, tuple) and self._is_exact(part) for part in tree)

    def sign(self) -> Tree:
        if self.accept("-"):
            operand = self.sign()
            return ("number", f"-{operand[1]}") if operand[0] == "number" else ("negative", operand)
        tree = self.primary()
        while self.accept("::"):
            tree = self._cast(tree, self.type_name())
        return tree

    def primary(self) -> Tree:
        kind, token = self.take()
        word = token.lower()
        if kind == "number":
            return _number(token)
        if kind == "text":
            return ("text", token)
        if kind == "name":
            return ("name", unquoted(token))
        if token == "(":
            tree = self.expression()
            self.expect(")")
            return tree
        if kind != "word":
            raise _NotUnderstoodError
        if re.fullmatch(r"_utf8(mb[34])?", word) and self.peek() == "text":
            return ("text", self.take()[1])
        if word == "array" and self.accept("["):
            return ("array", *self.items("]"))
        if word == "case":
            return self._case()
        if self.accept("("):
            return self._call(word)
        if word in ("null", "true", "false", "current_timestamp", "current_date"):
            return ("word", word)
        if self.peek() in ("text", "word", "[", "."):
            raise _NotUnderstoodError
        return ("name", token)

    def _call(self, function: str) -> Tree:
        if function == "trim":
            self.accept("both", "from")
        if function == "cast":
            tree = self.expression()
            self.expect("as")
            tree = self._cast(tree, self.type_name())
            self.expect(")")
            return tree
        return ("call", _SAME_FUNCTION.get(function, function), *self.items(")"))

    def _case(self) -> Tree:
        subject: Tree = () if self.peek() == "when" else self.expression()
        branches: list[Tree] = []
        while self.accept("when"):
            condition = self.expression()
            self.expect("then")
            branches.append((condition, self.expression()))
        otherwise = self.expression() if self.accept("else") else _NULL
        self.expect("end")
        return ("case", subject, *branches, otherwise)

    def items(self, end: str) -> list[Tree]:
        found: list[Tree] = []
        while not self.accept(end):
            if found:
                self.expect(",")
            found.append(self.expression())
        return found

    def type_name(self) -> str:
        kind, token = self.take()
        words = [_plain(kind, token)]
        while self.peek() in ("varying", "precision", "with", "without", "time", "zone"):
            words.append(self.take()[1].lower())
        name = " ".join(words)
        if self.accept("("):
            name += f"({', '.join(str(item[1]) for item in self.items(')'))})"
        return f"{name}[]" if self.accept("[", "]") else name

    def _cast(self, tree: Tree, name: str) -> Tree:
        if "(" not in name:
            if tree[0] == "text":
                return _number(str(tree[1])[1:-1], tree) if name in _NUMBERS else tree
            if tree == _NULL or tree[0] in ("number", "array"):
                return tree
            if name == "text" and tree[0] == "name" and self.columns.get(str(tree[1])) == "text":
                return tree
        return ("cast", tree, name)


def _number(text: str, otherwise: Tree | None = None) -> Tree:
    try:
        return ("number", format(Decimal(text).normalize(), "f"))
    except InvalidOperation:
        if otherwise is None:
            raise _NotUnderstoodError from None
        return otherwise


def _widened(tree: Tree) -> Tree:
    """Return an operand without a cast that only makes its number wider."""
    return _widened(tree[1]) if tree[0] == "cast" and tree[2] in _WIDER_NUMBERS else tree  # type: ignore[arg-type]


def _joined(word: str, parts: Sequence[Tree]) -> Tree:
    """Return the parts joined by AND or OR; what one of them joins by the same word counts as parts."""
    flat: list[str | Tree] = []
    for part in parts:
        flat += part[1:] if part[0] == word else [part]
    return (word, *flat) if len(parts) > 1 else parts[0]


def _among(left: Tree, items: Sequence[str | Tree]) -> Tree:
    return ("=", left, items[0]) if len(items) == 1 else ("in", left, *items)


def _negated(tree: Tree) -> Tree:
    """Return NOT ``tree`` with the NOT moved as far inwards as it goes, which keeps NULL in its place."""
    match tree:
        case ("not", tuple(inner)):
            return inner
        case ("and" | "or" as word, *parts):
            return ("or" if word == "and" else "and", *(_negated(part) for part in parts if isinstance(part, tuple)))
        case (str(sign), left, right) if sign in _INVERSE:
            return (_INVERSE[sign], left, right)
        case _:
            return ("not", tree)


def _spelled(tree: Tree, rank: int = 0) -> str:
    """Return the SQL of a tree, in parentheses where its operator binds less tightly than ``rank``."""
    text, own = _operator(tree)
    return f"({text})" if own < rank else text


def _operator(tree: Tree) -> tuple[str, int]:
    """Return the SQL of a tree and the rank of its outermost operator."""
    match tree:
        case ("tokens", *words):
            return " ".join(map(str, words)), 0
        case ("name", str(name)):
            return '"' + name.replace('"', '""') + '"', _ATOM
        case ("number", str(digits)):
            return digits, 8 if digits.startswith("-") else _ATOM
        case ("text", str(text)):
            return text, _ATOM
        case ("word", str(word)):
            return word.upper(), _ATOM
        case ("and" | "or" as word, *parts):
            return f" {word.upper()} ".join(_all(parts, _RANK[word] + 1)), _RANK[word]
        case ("not", ("like" | "in" | "is null" | "is true" | "is false" | "is unknown", *_) as inner):
            return _condition(inner, " NOT"), 4
        case ("not", tuple(inner)):
            return f"NOT {_spelled(inner, 3)}", 3
        case ("like" | "in" | "is null" | "is true" | "is false" | "is unknown", *_):
            return _condition(tree, ""), 4
        case ("negative", tuple(inner)):
            return f"-{_spelled(inner, 9)}", 8
        case ("cast", tuple(inner), str(name)):
            return f"CAST({_spelled(inner)} AS {name})", _ATOM
        case ("call", str(name), *arguments):
            return f"{name}({', '.join(_all(arguments))})", _ATOM
        case ("array", *items):
            return f"ARRAY[{', '.join(_all(items))}]", _ATOM
        case ("case", tuple(subject), *branches, tuple(otherwise)):
            start = f"CASE {_spelled(subject)}" if subject else "CASE"
            cases = ["WHEN {} THEN {}".format(*_all(branch)) for branch in branches if isinstance(branch, tuple)]
            return " ".join([start, *cases, f"ELSE {_spelled(otherwise)}", "END"]), _ATOM
        case (str(sign), tuple(left), tuple(right)):
            own = _RANK.get(sign, 4)
            return f"{_spelled(left, own if own > 4 else 5)} {sign} {_spelled(right, own + 1)}", own
    raise AssertionError(tree)


def _condition(tree: Tree, negation: str) -> str:
    kind = str(tree[0])
    left, *operands = _all(tree[1:], 5)
    if kind.startswith("is"):
        return f"{left} IS{negation} {kind[3:].upper()}"
    if kind == "in":
        return f"{left}{negation} IN ({', '.join(_all(tree[2:]))})"
    return f"{left}{negation} LIKE {' ESCAPE '.join(operands)}"


def _all(trees: Sequence[str | Tree], rank: int = 0) -> list[str]:
    return [_spelled(tree, rank) for tree in trees if isinstance(tree, tuple)]
