"""Check expressions as trees, and what makes two of them equal.

Each server gives a check back in a spelling of its own: with casts, more or fewer parentheses, other quotes, ``IN`` as
``= ANY (ARRAY[...])``, ``BETWEEN`` as two comparisons, ``NOT`` moved inwards. Two expressions are equal if their trees
are; literals and grouping always count. An expression that is not understood equals only the same tokens.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final

from engagement_db.sql_tokens import Token, tokens, unquoted

Tree = tuple["str | Tree", ...]

_INVERSE: Final = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_PREDICATES: Final = ("~~", "!~~", "not", "in", "between", "like")
_SAME_SIGN: Final = {"!=": "<>", "==": "="}
_SAME_FUNCTION: Final = {"lcase": "lower", "ucase": "upper", "btrim": "trim"}
_SAME_TYPE: Final = {"decimal": "numeric", "int": "integer"}
_INTEGERS: Final = ("integer", "bigint", "smallint")
# PostgreSQL adds these casts where an integer meets another number.
_WIDER_NUMBERS: Final = ("numeric", "double precision")
# Functions with the type of their arguments, which PostgreSQL casts to one type.
_ALIKE: Final = ("coalesce", "nullif", "greatest", "least")
_NULL: Final[Tree] = ("word", "null")
_RANK: Final = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6, "||": 7, "->": 7, "->>": 7}
_ATOM: Final = 9


def same(one: str, other: str) -> bool:
    """Return whether two check expressions are equal, whichever server spelled them."""
    return parse(one) == parse(other)


def normalized(sql: str, columns: Mapping[str, str] | None = None) -> str:
    """Return an expression in the spelling of the revisions: double-quoted columns, no needless parentheses."""
    return _spelled(parse(sql, columns))


def parse(sql: str, columns: Mapping[str, str] | None = None) -> Tree:
    """Return the tree of an expression.

    ``columns`` is for what PostgreSQL reports: which columns are ``"text"`` and which ``"numeric"``, because it adds
    casts around them, and to literals. Without it every cast counts.
    """
    return _parse(sql, None if columns is None else tuple(columns.items()))


def is_understood(sql: str) -> bool:
    """Return whether the parser understands the expression, so that each server's spelling of it is recognized."""
    return parse(sql)[0] != "tokens"


@lru_cache(maxsize=256)
def _parse(sql: str, columns: tuple[tuple[str, str], ...] | None) -> Tree:
    found = tokens(sql)
    parser = _Parser(found, None if columns is None else dict(columns))
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

    def __init__(self, found: Sequence[Token], columns: Mapping[str, str] | None) -> None:
        self.tokens = [*found, ("end", "")]
        self.position = 0
        self.columns = columns or {}
        self.adds_casts = columns is not None

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
        """Return comparisons, grouped from the left; those that servers would group in another way need parentheses."""
        left = self.operation(5)
        is_compared = is_equality = False
        while True:
            sign = _SAME_SIGN.get(self.peek(), self.peek())
            is_order = sign in ("<", "<=", ">", ">=")
            if (is_order and is_equality) or (is_compared and sign in _PREDICATES):
                raise _NotUnderstoodError
            if sign in _INVERSE:
                self.take()
                is_any = self.peek() in ("any", "all")
                left = self._quantified(sign, left) if is_any else (sign, *self._values(left))
            elif sign in ("~~", "!~~"):
                self.take()
                left = _negated(self._liked(left)) if sign == "!~~" else self._liked(left)
            elif self.accept("is"):
                left = self._truth(left)
            elif self.accept("not"):
                left = _negated(self._range(left))
            elif sign in _PREDICATES:
                left = self._range(left)
            else:
                return left
            is_compared, is_equality = True, not is_order

    def _truth(self, left: Tree) -> Tree:
        negative = self.accept("not")
        kind = self.take()[1].lower()
        if kind not in ("null", "true", "false", "unknown"):
            raise _NotUnderstoodError
        return _negated((f"is {kind}", left)) if negative else (f"is {kind}", left)

    def _values(self, left: Tree) -> tuple[Tree, Tree]:
        return self._value(left), self._value(self.operation(5))

    def _value(self, tree: Tree) -> Tree:
        """Return an operand of a comparison, in which the type of a number does not matter: 2.0 is 2."""
        tree = self._widened(tree)
        return ("number", str(tree[1]).removesuffix(".0")) if tree[0] == "number" else tree

    def _quantified(self, sign: str, left: Tree) -> Tree:
        quantifier = self.take()[1].lower()
        self.expect("(")
        array = self.expression()
        self.expect(")")
        if array[0] != "array" or (sign, quantifier) not in (("=", "any"), ("<>", "all")):
            raise _NotUnderstoodError
        found = self._among(left, array[1:])
        return found if sign == "=" else _negated(found)

    def _range(self, left: Tree) -> Tree:
        if self.accept("in"):
            self.expect("(")
            return self._among(left, self.items(")"))
        if self.accept("between"):
            left, lowest = self._values(left)
            self.expect("and")
            return _joined("and", [(">=", left, lowest), ("<=", left, self._value(self.operation(5)))])
        self.expect("like")
        return self._liked(left)

    def _among(self, left: Tree, items: Sequence[str | Tree]) -> Tree:
        left, *values = (self._value(tree) for tree in (left, *items) if isinstance(tree, tuple))
        return ("=", left, *values) if len(values) == 1 else ("in", left, *values)

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
            left = (sign, *self._alike([left, self.operation(rank + 1)]))
        return left

    def _alike(self, operands: Sequence[Tree]) -> Sequence[Tree]:
        """Return the operands without the casts that PostgreSQL adds: an integer gets the type of the number it meets.

        Where it met only a cast, each operand has that cast: which of them was written is not known.
        """
        if any(map(self._is_exact, operands)):
            return [self._widened(operand) for operand in operands]
        casts = [operand[2] for operand in operands if operand[0] == "cast" and operand[2] in _WIDER_NUMBERS]
        if not casts or not self.adds_casts:
            return operands
        return [("cast", self._widened(operand), casts[0]) for operand in operands]

    def _is_exact(self, tree: Tree) -> bool:
        """Return whether an operand is a decimal number without a cast, so that PostgreSQL makes the others such."""
        match tree:
            case ("name", str(name)):
                return self.columns.get(name) == "numeric"
            case ("number", str(digits)):
                return "." in digits
            case ("call", "round", *_):
                return True
            case ("cast", _, str(name)):
                return name.startswith("numeric(")
            case _:
                return any(isinstance(part, tuple) and self._is_exact(part) for part in tree)

    def _is_text(self, tree: Tree) -> bool:
        match tree:
            case ("name", str(name)):
                return self.columns.get(name) == "text"
            case ("call", function, *arguments) if function in _ALIKE:
                return any(isinstance(part, tuple) and self._is_text(part) for part in arguments)
            case ("case", _, *branches, otherwise):
                results = [*(branch[1] for branch in branches), otherwise]
                return any(isinstance(part, tuple) and self._is_text(part) for part in results)
            case _:
                return False

    def _widened(self, tree: Tree) -> Tree:
        """Return an operand without casts that only make its number wider, if PostgreSQL may have added them."""
        match tree:
            case ("cast", tuple(inner), str(name)) if self.adds_casts and name in _WIDER_NUMBERS:
                return self._widened(inner)
            case _:
                return tree

    def sign(self) -> Tree:
        if self.accept("-"):
            operand = self.sign()
            if operand[0] != "number":
                return ("negative", operand)
            digits = str(operand[1])
            return ("number", digits.removeprefix("-") if digits.startswith("-") else f"-{digits}")
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
        arguments = self.items(")")
        if function in _ALIKE:
            return ("call", function, *self._alike(arguments))
        if function == "round" and len(arguments) == 1:
            arguments.append(("number", "0"))
        return ("call", _SAME_FUNCTION.get(function, function), *map(self._widened, arguments))

    def _case(self) -> Tree:
        subject: Tree = () if self.peek() == "when" else self.expression()
        conditions: list[Tree] = []
        results: list[Tree] = []
        while self.accept("when"):
            conditions.append(self.expression())
            self.expect("then")
            results.append(self.expression())
        results.append(self.expression() if self.accept("else") else _NULL)
        self.expect("end")
        *results, otherwise = self._alike(results)
        return ("case", subject, *zip(conditions, results, strict=True), otherwise)

    def items(self, end: str) -> list[Tree]:
        found: list[Tree] = []
        while not self.accept(end):
            if found:
                self.expect(",")
            found.append(self.expression())
        return found

    def type_name(self) -> str:
        kind, token = self.take()
        words = [_SAME_TYPE.get(token.lower(), _plain(kind, token))]
        while self.peek() in ("varying", "precision", "with", "without", "time", "zone"):
            words.append(self.take()[1].lower())
        name = " ".join(words)
        if self.accept("("):
            name += f"({', '.join(str(item[1]) for item in self.items(')'))})"
        return f"{name}[]" if self.accept("[", "]") else name

    def _cast(self, tree: Tree, name: str) -> Tree:
        """Return the cast, or what it casts if PostgreSQL may have added it."""
        if not self.adds_casts or "(" in name:
            return ("cast", tree, name)
        if tree[0] == "text":
            return _typed(str(tree[1])[1:-1], name)
        if tree == _NULL or tree[0] == "array":
            return tree
        if (name in _INTEGERS and tree[0] == "number") or name == "bigint":
            # Of a larger integer the value is the same.
            return ("cast", tree, name) if self._is_exact(tree) else tree
        return tree if name == "text" and self._is_text(tree) else ("cast", tree, name)


def _number(text: str) -> Tree:
    """Return a number; one that was written as a decimal number has decimal places, because 3 / 2.0 is not 3 / 2."""
    digits = format(Decimal(text).normalize(), "f")
    return ("number", digits if "." in digits or re.fullmatch(r"-?\d+", text) else f"{digits}.0")


def _typed(text: str, name: str) -> Tree:
    """Return the literal that PostgreSQL reports as a text with a type."""
    is_whole = re.fullmatch(r"-?\d+", text) is not None
    if name in _INTEGERS and is_whole:
        return _number(text)
    if name in _WIDER_NUMBERS and re.fullmatch(r"-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.IGNORECASE):
        return _number(f"{text}.0" if is_whole else text)
    if name == "timestamp with time zone":
        text = text.removesuffix("+00")
    return ("text", f"'{text}'")


def _joined(word: str, parts: Sequence[Tree]) -> Tree:
    """Return the parts joined by AND or OR; what one of them joins by the same word counts as parts."""
    flat: list[str | Tree] = []
    for part in parts:
        flat += part[1:] if part[0] == word else [part]
    return (word, *flat) if len(parts) > 1 else parts[0]


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
