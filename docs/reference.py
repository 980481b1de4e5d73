"""Print docs/reference.md: every public name, with what its docstring says."""

import dataclasses
import enum
import importlib
import inspect
import re
from collections.abc import Iterator

import peewee

HEAD = """# Reference

Every public name, in the words of its docstring. Made by `python docs/reference.py > docs/reference.md`; a test fails
when a name is missing here, or gone.
"""
OTHERS = ("engagement_db.testing", "engagement_db.contrib.problem_details")


def public(module: str) -> list[str]:
    found = importlib.import_module(module)
    own = [name for name, value in vars(found).items() if getattr(value, "__module__", "") == module]
    return getattr(found, "__all__", sorted(name for name in own if not name.startswith("_")))


def described(name: str, value: object) -> Iterator[str]:
    """The lines of one name: its signature or labels, its docstring, and those of its verbs."""
    if inspect.isfunction(value):
        yield f"### {name}\n\n{code(name, value)}\n\n{text(value)}\n"
    elif isinstance(value, type):
        yield f"### {name}\n\n{text(value)}\n"
        if issubclass(value, enum.Enum):
            yield f"Labels: {', '.join(f'`{member.value}`' for member in value)}.\n"
        elif issubclass(value, peewee.Model):
            yield f"Columns: {', '.join(f'`{column}`' for column in value._meta.sorted_field_names)}.\n"
        elif dataclasses.is_dataclass(value):
            yield f"Fields: {', '.join(f'`{field.name}`' for field in dataclasses.fields(value))}.\n"
        for attribute, member in vars(value).items():
            function = getattr(member, "__func__", member)
            if not attribute.startswith("_") and inspect.isfunction(function) and function.__doc__:
                yield f"#### {name}.{attribute}\n\n{code(attribute, function)}\n\n{text(function)}\n"
    else:
        yield f"### {name}\n\nA constant: `{type(value).__name__}`.\n"


def code(name: str, function: object) -> str:
    parameters = inspect.signature(function).parameters.values()
    shown = [item.replace(annotation=item.empty) for item in parameters if item.name not in ("self", "cls")]
    signature = re.sub(r"<([\w.]+): .*?>", r"\1", str(inspect.Signature(shown)))
    return f"`{name}{signature}`"


def text(value: object) -> str:
    return (inspect.getdoc(value) or "").replace("``", "`")


def page() -> str:
    lines = [HEAD]
    for module, title in (("engagement_db", "engagement_db"), *((name, name) for name in OTHERS)):
        lines.append(f"## {title}\n")
        for name in public(module):
            lines += described(name, getattr(importlib.import_module(module), name))
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
