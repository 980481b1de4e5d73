"""Check expressions as a revision may declare them, for tests that try many, and the columns that they are about."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

INTEGERS = ("a", "b")
MONEY = "amount"
VARCHAR = "word"

_quoted = st.text(alphabet="aAbx '\"`%_!()ü;-\\", max_size=6).map(lambda text: "'" + text.replace("'", "''") + "'")
_whole = st.integers(-3, 12).map(str)
_exact = st.sampled_from(["0.5", "-0.25", "1.50", "100"])
_column = st.sampled_from([f'"{name}"' for name in (*INTEGERS, MONEY)])


def _sums(inner: SearchStrategy[str]) -> SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*/%"), inner | st.sampled_from(["2", "3", "2.0"])).map(" ".join),
        inner.map(lambda sql: f"({sql})"),
        st.tuples(inner, inner).map(lambda pair: f"coalesce({pair[0]}, {pair[1]})"),
        st.just(f'length("{VARCHAR}")'),
    )


_number = st.recursive(_column, _sums, max_leaves=4)
_word = st.sampled_from([f'"{VARCHAR}"', f'lower("{VARCHAR}")', f'UPPER("{VARCHAR}")'])
_sign = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])
_negation = st.sampled_from(["", "NOT "])
_comparison = st.one_of(
    st.tuples(_number, _sign, _number | _whole | _exact).map(" ".join),
    st.tuples(_word, _sign, _quoted | _word).map(" ".join),
    st.tuples(_column, st.sampled_from(["IS NULL", "IS NOT NULL", "is null"])).map(" ".join),
    st.tuples(_column, _negation, st.lists(_whole, min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]} {parts[1]}IN ({', '.join(parts[2])})"
    ),
    st.tuples(_word, _negation, st.lists(_quoted, min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]} {parts[1]}in ({','.join(parts[2])})"
    ),
    st.tuples(_number, _negation, _whole, _whole).map(
        lambda parts: f"{parts[0]} {parts[1]}BETWEEN {parts[2]} AND {parts[3]}"
    ),
    st.tuples(_word, _negation, _quoted).map(lambda parts: f"{parts[0]} {parts[1]}LIKE {parts[2]}"),
    st.tuples(_number, _sign, _whole, _column, _whole).map(
        lambda parts: f"CASE WHEN {parts[0]} {parts[1]} {parts[2]} THEN {parts[3]} ELSE {parts[4]} END > 0"
    ),
)


def _logic(inner: SearchStrategy[str]) -> SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR", "and", "or"]), inner).map(" ".join),
        inner.map(lambda sql: f"({sql})"),
        inner.map(lambda sql: f"NOT ({sql})"),
        inner.map(lambda sql: f"NOT {sql}"),
    )


expressions = st.recursive(_comparison, _logic, max_leaves=5)
