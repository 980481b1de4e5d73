"""Changes behind the library's back, as another client makes them."""

from typing import Any

import peewee


def tamper(target: Any, **changes: Any) -> None:
    """Change columns of a stored row, or of all rows of a model, past every rule of the library."""
    model = target if isinstance(target, type) else type(target)
    query = peewee.ModelUpdate(model, {model._meta.fields[name]: value for name, value in changes.items()})
    query = query if model is target else query.where(model.id == target.id)
    assert query.execute() >= 1
