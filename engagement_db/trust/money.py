"""Exact amounts: what the books compute with, whatever the decimal context of the caller."""

from decimal import Context
from typing import Final

from engagement_db.orm.fields import VarcharField, reject
from engagement_db.orm.rows import required_text

# The caller's decimal context may round; the books never do.
EXACT: Final = Context(prec=40)


def currency(field: VarcharField, value: str) -> str:
    code = required_text(field, value)
    if not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
        reject(field, f"{code!r} is not a currency code, which has three capital letters, as USD has")
    return code
