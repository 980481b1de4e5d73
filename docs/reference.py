"""Print docs/reference.md: every public name, with what its docstring says."""

import ast
import dataclasses
import enum
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import peewee

HEAD = """# Reference

Every public name, in the words of its docstring. Made by `python docs/reference.py > docs/reference.md`; a test fails
when it is stale.
"""
OTHERS = ("engagement_db.testing", "engagement_db.contrib.problem_details")
# A constant has no docstring.
CONSTANTS = {
    "ANONYMOUS": "A viewer who is not signed in, and sees public posts only. So is `None`.",
    "EVERYTHING": "A viewer who sees all posts: a job or a moderator.",
    "JSON_NULL": "The JSON document `null`, as against no document at all (`None`, SQL NULL).",
    "MODELS": "All models, parents before their children.",
    "Money": "An exact amount: taken as a whole number or text such as `12.50`, not as a float; in JSON it is text.",
    "UTCTime": "A time with a zone is taken, and becomes UTC; a naive one is refused.",
    "Document": "What a metadata column holds: anything that JSON can say.",
}
# Read rather than imported: the frameworks may be missing here, and pytest wraps its fixtures.
OF_FRAMEWORKS = ("engagement_db.contrib.fastapi", "engagement_db.contrib.pydantic", "engagement_db.pytest_plugin")


def public(module: str) -> list[str]:
    found = importlib.import_module(module)
    own = [name for name, value in vars(found).items() if getattr(value, "__module__", "") == module]
    return getattr(found, "__all__", sorted(name for name in own if not name.startswith("_")))


def described(name: str, value: object) -> Iterator[str]:
    """The lines of one name: its signature or labels, its docstring, and those of its verbs."""
    if inspect.isfunction(value):
        yield f"### {name}\n\n{signature(name, value)}\n\n{text(value)}\n"
    elif isinstance(value, type):
        yield f"### {name}\n\n{text(value)}\n"
        if issubclass(value, enum.Enum):
            yield f"Labels: {', '.join(f'`{member.value}`' for member in value)}.\n"
        elif issubclass(value, peewee.Model):
            meanings = f"[data-dictionary.md](data-dictionary.md#{value._meta.table_name})"
            yield f"Columns: {', '.join(f'`{column}`' for column in value._meta.sorted_field_names)}: {meanings}.\n"
        elif dataclasses.is_dataclass(value):
            fields = [
                f"`{item.name}: {spelled(inspect.formatannotation(item.type))}`" for item in dataclasses.fields(value)
            ]
            yield f"Fields: {', '.join(fields)}.\n"
        for attribute, member in vars(value).items():
            function = getattr(member, "__func__", member)
            if not attribute.startswith("_") and inspect.isfunction(function) and function.__doc__:
                yield f"#### {name}.{attribute}\n\n{signature(attribute, function)}\n\n{text(function)}\n"
    else:
        yield f"### {name}\n\n{CONSTANTS[name]}\n"


def signature(name: str, function: object) -> str:
    """The function as in a stub, on one line if that fits."""
    found = inspect.signature(function)
    parts = []
    for item in found.parameters.values():
        if item.kind is item.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        if item.name not in ("self", "cls"):
            parts.append(spelled(str(item)))
    end = f") -> {spelled(inspect.formatannotation(found.return_annotation))}: ..."
    line = f"def {name}({', '.join(parts)}{end}"
    if len(line) > 100:
        line = "\n".join([f"def {name}(", *(f"    {part}," for part in parts), end])
    return f"```python\n{line}\n```"


def spelled(annotated: str) -> str:
    """A parameter or annotation as it is in source: without the modules of its names, members by their names."""
    named = re.sub(r"<([\w.]+): .*?>", r"\1", annotated)
    bare = re.sub(r"(?<=: )'([^']+)'|^'([^']+)'$", r"\1\2", re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)|~", "", named))
    return bare.replace("'", '"')


def in_source(module: str) -> Iterator[str]:
    """The lines of the functions, classes and types of a module."""
    nodes = ast.parse(Path(importlib.util.find_spec(module).origin).read_text("utf-8")).body
    # What type checkers read, and in its place what runs.
    nodes = [inner for node in nodes for inner in (node.orelse if isinstance(node, ast.If) else [node])]
    for node in nodes:
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Annotated["):
            yield f"### {node.targets[0].id}\n\n{CONSTANTS[node.targets[0].id]}\n"
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield f"### {node.name}\n"
        if isinstance(node, ast.FunctionDef):
            parameters = re.sub(r"(?<=[\w\]])=", " = ", ast.unparse(node.args))
            yield f"```python\ndef {node.name}({parameters}) -> {ast.unparse(node.returns)}: ...\n```\n"
        yield ast.get_docstring(node).replace("``", "`") + "\n"


def text(value: object) -> str:
    return (inspect.getdoc(value) or "").replace("``", "`")


def page() -> str:
    lines = [HEAD]
    for module, title in (("engagement_db", "engagement_db"), *((name, name) for name in OTHERS)):
        lines.append(f"## {title}\n")
        for name in public(module):
            lines += described(name, getattr(importlib.import_module(module), name))
    for module in OF_FRAMEWORKS:
        lines += [f"## {module}\n", *in_source(module)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
