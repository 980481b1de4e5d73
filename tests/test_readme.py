"""What the README and the page of the verbs show is what happens."""

import ast
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import engagement_db as edb

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


# Each of these blocks is run by a test, and there are no others.
TOUR, BINDING = blocks("python")
(TOUR_OUTPUT,) = blocks("text")
INSTALLING, TESTING = blocks("sh")


def run(*command: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tour_prints_what_it_says(tmp_path):
    run(sys.executable, "-m", "engagement_db.cli", "migrate", folder=tmp_path)
    printed = run(sys.executable, "-c", TOUR, folder=tmp_path)
    assert printed == TOUR_OUTPUT


def test_the_tour_takes_some_twenty_lines():
    lines = [line for line in TOUR.splitlines() if line]
    assert len(lines) <= 20


def test_binding_a_service_database_opens_and_creates_nothing(tmp_path):
    run(sys.executable, "-c", BINDING, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["accounting", "connecting", "verbs"])
def test_a_page_marked_as_a_program_runs(tmp_path, name):
    page = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    assert "The page as a whole is a program" in page
    run(sys.executable, "-m", "engagement_db.cli", "migrate", folder=tmp_path)
    run(sys.executable, "-c", "\n".join(blocks("python", page)), folder=tmp_path)


def test_the_table_of_an_account_is_what_its_program_asserts():
    page = (ROOT / "docs" / "accounting.md").read_text("utf-8")
    amounts = r"\d+\.\d\d \| \d+\.\d\d \| \d+\.\d\d"
    shown = re.findall(rf"\| ({amounts}) \|$", page, re.MULTILINE)
    assert len(shown) > 3
    assert shown == re.findall(rf'assert held\(\) == "({amounts})"', page)


def test_every_command_of_the_operators_table_exists(tmp_path):
    commands = set(re.findall(r"`engagement-db ([\w-]+)", README))
    assert commands >= {"migrate", "rollback", "status", "check", "sql", "adopt"}
    for command in commands:
        assert "Usage:" in run(sys.executable, "-m", "engagement_db.cli", command, "--help", folder=tmp_path)


def test_every_page_that_is_linked_is_there():
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_continuous_integration_runs_the_test_command():
    command = TESTING.strip()
    assert command in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_public_name_is_in_the_reference_of_the_contract():
    headings = re.compile(r"^(##.*)$", re.MULTILINE)
    made = run(sys.executable, str(ROOT / "docs" / "reference.py"), folder=ROOT)
    page = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert page == made, "run: python docs/reference.py > docs/reference.md"
    assert {f"### {name}" for name in edb.__all__} <= set(headings.findall(page))
    extras = {path.stem for path in (ROOT / "engagement_db" / "contrib").glob("[!_]*.py")}
    assert {f"## engagement_db.contrib.{name}" for name in extras} <= set(headings.findall(page))


def test_the_reference_shows_a_type_of_every_parameter_and_result():
    stubs = [
        ast.parse(block).body[0] for block in blocks("python", (ROOT / "docs" / "reference.md").read_text("utf-8"))
    ]
    assert len(stubs) > len(edb.MODELS)
    for stub in stubs:
        every = [*stub.args.posonlyargs, *stub.args.args, *stub.args.kwonlyargs, stub.args.vararg, stub.args.kwarg]
        assert [item.arg for item in every if item and item.annotation is None] == [], stub.name
        assert stub.returns is not None, stub.name


def test_every_public_name_of_the_contract_is_on_a_page_that_was_written():
    made = ("reference.md", "data-dictionary.md")
    pages = [path for path in (ROOT / "docs").glob("*.md") if path.name not in made]
    text = README + "".join(page.read_text("utf-8") for page in pages)
    assert [name for name in edb.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_the_page_of_the_verbs_lists_every_attribute_of_what_comes_back():
    page = (ROOT / "docs" / "verbs.md").read_text("utf-8")
    rows = re.findall(r"^\| .* \| `(\w+)` \| (.*) \|$", page.partition("## What comes back")[2], re.MULTILINE)
    records = {name: getattr(edb, name) for name in edb.__all__ if dataclasses.is_dataclass(getattr(edb, name))}
    assert {name for name, _ in rows} == set(records)
    for name, listed in rows:
        attributes = re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", listed))
        own = [field.name for field in dataclasses.fields(records[name])]
        assert attributes[: len(own)] == own, name
        assert all(isinstance(getattr(records[name], more), property) for more in attributes[len(own) :]), name


def test_every_public_name_says_what_it_is():
    for name in edb.__all__:
        value = getattr(edb, name)
        if callable(value) and not name.isupper():
            assert value.__doc__, name
