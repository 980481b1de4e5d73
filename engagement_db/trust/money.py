"""Exact amounts: how they are added, what fits a currency, and how a JSON document holds them."""

from decimal import Context, Decimal
from typing import Final

from engagement_db.orm.columns import Column
from engagement_db.orm.fields import reject, shown
from engagement_db.orm.rows import required_text
from engagement_db.trust.currencies import DECIMAL_PLACES

# The caller's decimal context may round; the books never do.
EXACT: Final = Context(prec=40)


def require_currency(field: Column[str], code: str) -> str:
    """Return an ISO 4217 currency code; raises RefusedValue for any other text."""
    text = required_text(field, code)
    if text not in DECIMAL_PLACES:
        reject(
            field, f"{shown(text)} is not a currency code of ISO 4217, which has three capital letters, for example USD"
        )
    return text


def require_payable(field: Column[Decimal], amount: Decimal, currency_code: str) -> None:
    """Raise RefusedValue for a fraction in a currency that has no decimal places, such as JPY.

    Other currencies take all four places of the column, because fees are often percentages.
    """
    if DECIMAL_PLACES.get(currency_code) == 0 and amount != amount.to_integral_value():
        reject(field, f"{amount.normalize(EXACT)} is not a whole number, and {currency_code} has no decimal places")


def to_json(amount: Decimal | str) -> int | float | str:
    """Return an amount as the JSON number that Node writes, or as text where that number would not be exact."""
    if isinstance(amount, str):
        # What another client wrote and no amount can be read from.
        return str(amount)
    if amount == amount.to_integral_value():
        return int(amount)
    number = float(amount)
    return number if Decimal(repr(number)) == amount else str(amount)
