"""What type checkers say of a service, and that each column's annotation says what its field does."""

import functools
import inspect
import re
import shutil
import subprocess
import tempfile
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

import engagement_db as edb
from engagement_db import testing
from engagement_db.contrib import problem_details
from engagement_db.orm import columns, fields, models
from engagement_db.orm.columns import Column, Reference

ROOT = Path(__file__).parent.parent
SAMPLES = Path(__file__).parent / "type_samples"
# A page is one program, or each of its blocks is. The others need what has no stubs, or is not installed here.
PROGRAMS = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("verbs", "connecting", "accounting"))]
RECIPES = ["fastapi", "worker", "tenants", "standby", "outbox"]
# The pages leave out annotations that their readers do not need.
AS_ON_PAGES = "# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls\n"
CHECKERS = {"mypy": ["mypy", "--strict", "--no-incremental"], "pyright": ["pyright"]}


def lines_with_errors(checker, name):
    if shutil.which(checker) is None:
        pytest.skip(f"{checker} is not installed; tests/run -e types installs it")
    return {int(line) for line in re.findall(rf"\b{name}:(\d+)(?::\d+)?[: -]+error", said_of_all(checker))}


@functools.cache
def said_of_all(checker):
    samples = [SAMPLES / "good.py", SAMPLES / "bad.py", SAMPLES.parent / "sample_service" / "service.py"]
    with tempfile.TemporaryDirectory() as folder:
        for name, program in programs_of_pages().items():
            samples.append(Path(folder, f"{name}.py"))
            samples[-1].write_text(AS_ON_PAGES + program)
        done = subprocess.run([*CHECKERS[checker], *samples], check=False, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_service_that_is_right_has_no_error(checker):
    assert lines_with_errors(checker, "good.py") == set()


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_sample_service_is_typed_from_the_request_to_the_answer(checker):
    pytest.importorskip("fastapi", reason="fastapi is not installed; tests/run -e types installs it")
    assert lines_with_errors(checker, "service.py") == set()


def programs_of_pages():
    found = {f"page_{page.stem.lower()}": python_of(page.read_text()) for page in PROGRAMS}
    recipes = (ROOT / "docs" / "services.md").read_text()
    return found | {
        f"recipe_{name}": re.search(rf"<!-- {name} -->\n```python\n(.*?)```", recipes, re.DOTALL)[1] for name in RECIPES
    }


def python_of(page):
    return "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("name", programs_of_pages())
def test_what_the_pages_show_has_no_error(checker, name):
    if "fastapi" in programs_of_pages()[name]:
        pytest.importorskip("fastapi", reason="fastapi is not installed; tests/run -e types installs it")
    assert lines_with_errors(checker, name + ".py") == set()


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_mistake_is_an_error(checker):
    source = (SAMPLES / "bad.py").read_text().splitlines()
    mistakes = {number for number, line in enumerate(source, 1) if line.startswith("edb.")}
    assert len(mistakes) > 20
    assert lines_with_errors(checker, "bad.py") == mistakes


PLAIN = {
    fields.KeyField: int,
    fields.IntegerField: int,
    fields.VarcharField: str,
    fields.TextField: str,
    fields.UTCDateTimeField: datetime,
    fields.MoneyField: Decimal,
    fields.JsonField: typing.Any,
}
NAMES = {model.__name__: model for model in edb.MODELS}


def annotated(model, name):
    """The kind of the annotation, its type and whether it may be None."""
    annotation = model.__annotations__[name]
    kind, (inner,) = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(inner, typing.ForwardRef):
        inner = eval(inner.__forward_arg__, dict(NAMES))
    options = typing.get_args(inner) if isinstance(inner, types.UnionType) else (inner,)
    (only,) = [option for option in options if option is not types.NoneType]
    return kind, only, types.NoneType in options


@pytest.mark.parametrize("model", edb.MODELS, ids=lambda model: model.__name__)
def test_an_annotation_matches_its_field(model):
    for field in model._meta.sorted_fields:
        kind, only, may_be_none = annotated(model, field.name)
        if isinstance(field, fields.ReferenceField):
            expected = Reference, field.rel_model, field.null
        elif isinstance(field, fields.EnumField):
            expected = Column, field.enum_class, field.null
        else:
            expected = Column, PLAIN[type(field)], field.null and not isinstance(field, fields.JsonField)
        assert (kind, only, may_be_none) == expected, field
        if isinstance(field, fields.ReferenceField):
            (column,) = typing.get_args(model.__annotations__[field.object_id_name])
            assert column == (Column[int | None] if field.null else Column[int]), field


@pytest.mark.parametrize("model", edb.MODELS, ids=lambda model: model.__name__)
def test_each_back_reference_is_annotated(model):
    for reference in model._meta.backrefs:
        (backref,) = typing.get_args(model.__annotations__[reference.backref])
        (target,) = typing.get_args(backref)
        name = target.__forward_arg__ if isinstance(target, typing.ForwardRef) else target.__name__
        assert name == reference.model.__name__


PUBLIC = {
    name: getattr(module, name)
    for module in (edb, testing, problem_details)
    for name in getattr(module, "__all__", ["headers_for", "problem_document", "status_of"])
}


def callables_of(name, value):
    """The functions behind a public name: itself, or what a class of this library defines in public."""
    if inspect.isfunction(value):
        yield name, value
    for kind in value.__mro__ if isinstance(value, type) else ():
        if kind.__module__.startswith("engagement_db"):
            for attribute, member in vars(kind).items():
                function = getattr(member, "__func__", getattr(member, "fget", member))
                if inspect.isfunction(function) and (attribute == "__init__" or not attribute.startswith("_")):
                    yield f"{name}.{attribute}", function


def has_any(hint):
    """Whether a type is Any or made of it; the values of a document or of a row may be."""
    if typing.get_origin(hint) in (dict, Mapping, edb.Repair):
        return False
    return hint is typing.Any or any(map(has_any, typing.get_args(hint)))


@pytest.mark.parametrize("name", PUBLIC)
def test_no_public_callable_takes_or_returns_any(name):
    known = {**PUBLIC, **vars(columns), **vars(models)}
    for place, function in callables_of(name, PUBLIC[name]):
        hints = typing.get_type_hints(function, localns=known)
        parameters = inspect.signature(function).parameters.keys() - {"self", "cls"}
        assert parameters <= hints.keys(), place
        assert [part for part, hint in hints.items() if has_any(hint)] == [], place
