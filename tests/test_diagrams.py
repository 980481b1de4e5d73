"""The diagrams are what the models declare and the verbs allow, and the pages show them as they are."""

import re
import shutil
from pathlib import Path

import pytest
from commands import run
from platform_database import execute

import engagement_db as edb
from engagement_db import diagrams, testing
from engagement_db.trust.words import DisputeStage

ROOT = Path(__file__).parent.parent


def printed(*arguments, **environment):
    ended = run(["engagement-db", "diagram", *arguments], **environment)
    assert ended.code == 0, ended.words
    return ended.stdout


def test_the_pages_show_the_diagrams_of_the_contract():
    page = (ROOT / "docs" / "diagrams.md").read_text("utf-8")
    shown = dict(re.findall(r"<!-- (\w+) -->\n```mermaid\n(.*?)```", page, re.DOTALL))
    assert shown == {name: printed(name) for name in diagrams.NAMES}
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"```mermaid\n(.*?)```", readme, re.DOTALL) == [printed("tables"), printed("escrow")]


def test_every_foreign_key_is_drawn_as_it_is():
    lines, dot = printed("tables").splitlines(), printed("tables", "--format", "dot").splitlines()
    for model in edb.MODELS:
        for reference in model._meta.refs:
            end = "|o" if reference.null else "||"
            parent, child = reference.rel_model._meta.table_name, model._meta.table_name
            assert f"    {parent} {end}--o{{ {child} : {reference.column_name}" in lines
            tail = "teeodot" if reference.null else "teetee"
            assert f'    "{parent}" -> "{child}" [label="{reference.column_name}", arrowtail={tail}];' in dot


def test_a_verb_is_drawn_exactly_where_it_is_allowed(engagement_db_database):
    drawn = {(move.source, verb) for move in diagrams.escrow_moves() for verb in move.label.split(", ")}
    for status in edb.TransactionStatus:
        if status == edb.TransactionStatus.DISPUTED:
            continue
        for verb in ("fund", "hold", "release", "refund", "cancel"):
            payment = testing.make_transaction(status=status)
            try:
                is_allowed = getattr(payment, verb)().changed
            except edb.InvalidTransition:
                is_allowed = False
            assert is_allowed is ((status, verb) in drawn), (status, verb)


def test_a_case_advances_as_it_is_drawn(engagement_db_database):
    drawn = {(move.source, move.target) for move in diagrams.case_moves()}
    stages = [stage for stage in DisputeStage if stage != DisputeStage.RESOLVED]
    for source in stages:
        for target in stages:
            case = testing.make_case()
            case.advance(source)
            try:
                is_allowed = case.advance(target).changed
            except edb.InvalidTransition:
                is_allowed = False
            assert is_allowed is ((source, target) in drawn), (source, target)


@pytest.mark.parametrize("name", diagrams.NAMES)
def test_graphviz_gets_an_arrow_for_each_line(name):
    dot = printed(name, "--format", "dot")
    assert dot.startswith("digraph {\n")
    assert dot.count(" -> ") == len([line for line in printed(name).splitlines() if "--" in line and "[*]" not in line])


def test_a_database_that_has_all_tables_is_drawn_as_the_models_are(url_of_tables):
    assert printed("--database", url_of_tables) == printed()


def test_a_live_table_is_drawn_with_the_keys_that_it_has(url):
    execute(url, "CREATE TABLE users (id INTEGER PRIMARY KEY, boss INTEGER, FOREIGN KEY (boss) REFERENCES users (id))")
    drawn = printed("--live", DATABASE_URL=url)
    assert drawn == "erDiagram\n    direction LR\n    users |o--o{ users : boss\n"
    assert printed(DATABASE_URL=url) != drawn, "without --live no database is looked at"


def test_statuses_are_not_looked_for_in_a_database():
    ended = run(["engagement-db", "diagram", "escrow", "--live"])
    assert ended.code == 2
    assert "only tables can be live" in ended.words


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed; tests/run installs it")
@pytest.mark.parametrize("name", diagrams.NAMES)
def test_graphviz_draws_each_arrow(name):
    svg = printed(name, "--format", "svg")
    assert svg.endswith("</svg>\n")
    assert svg.count('class="edge"') == printed(name, "--format", "dot").count(" -> ")


def test_svg_without_graphviz_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = run(["engagement-db", "diagram", "--format", "svg"])
    assert ended.code == 2
    assert ended.words.startswith("Error: The program dot of Graphviz")


def test_a_diagram_that_is_not_there_is_named():
    ended = run(["engagement-db", "diagram", "disputes"])
    assert ended.code == 2
    assert "'disputes' is none of tables, escrow, account, dispute." in ended.words
