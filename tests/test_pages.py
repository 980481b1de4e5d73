"""Every block of code on a page is run by a test.

The lines of shell are run here, or, where that would install or measure for minutes, held to what there is: the extras,
the options. For every other language this names the test that runs all blocks of a page.
"""

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from commands import copy_scripts, run

import engagement_db as edb
from engagement_db.cli import main

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for pattern in ("*.md", "docs/*.md", "benchmarks/*.md", "tests/interop/*.md")
    for path in ROOT.glob(pattern)
}
FENCED = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
RUN_BY = {
    ("README.md", "python"): "test_readme.py::test_the_tour_prints_what_it_says",
    ("README.md", "text"): "test_readme.py::test_the_tour_prints_what_it_says",
    ("README.md", "mermaid"): "test_diagrams.py::test_the_pages_show_the_diagrams_of_the_contract",
    ("docs/accounting.md", "python"): "test_readme.py::test_a_page_marked_as_a_program_runs",
    ("docs/clusters.md", "bash"): "support/clusters.py::haproxy",
    ("docs/clusters.md", "cfg"): "support/clusters.py::haproxy",
    (
        "docs/clusters.md",
        "sql",
    ): "cluster/test_logical.py::test_a_subscriber_that_was_migrated_first_takes_over_when_its_sequences_are_set",
    ("docs/clusters.md", "python"): "test_pages.py::test_a_standby_is_read_as_the_page_says",
    ("docs/connecting.md", "python"): "test_readme.py::test_a_page_marked_as_a_program_runs",
    ("docs/deployment.md", "mermaid"): "test_deployment.py::test_the_deployment_of_the_contract_is_drawn_as_it_is",
    ("docs/diagrams.md", "mermaid"): "test_diagrams.py::test_the_pages_show_the_diagrams_of_the_contract",
    ("docs/moving-from-sequelize.md", "console"): "schema/test_adopt.py::test_the_page_shows_what_happens",
    ("docs/moving-from-sequelize.md", "sql"): "schema/test_adopt.py::renamed",
    ("docs/operating.md", "sql"): "test_operating.py::test_old_entries_of_the_log_may_be_deleted",
    ("docs/reference.md", "python"): "test_readme.py::test_the_reference_shows_a_type_of_every_parameter_and_result",
    ("docs/revisions.md", "python"): "schema/test_steps.py::test_example_is_applied_again_rolled_back_and_applied",
    ("docs/security.md", "text"): "orm/test_tls.py::documented",
    ("docs/services.md", "python"): "contrib/test_recipes.py::test_every_recipe_is_tried",
    ("docs/testing.md", "python"): "test_testing.py::test_the_page_runs",
    ("docs/verbs.md", "python"): "test_readme.py::test_a_page_marked_as_a_program_runs",
}
# Pictures drawn by hand: how servers stand to each other, trees and layers of modules.
PICTURES = {("docs/clusters.md", "mermaid"), ("docs/design.md", "indented")}
SHELL = ("sh", "indented")


def blocks() -> list[tuple[str, str, str]]:
    """The page, the language and the text of every block that is no picture."""
    found = []
    for page, text in PAGES.items():
        found += [(page, language, code) for _, language, code in FENCED.findall(text)]
        found += [(page, "indented", code) for code in INDENTED.findall(FENCED.sub("", text))]
    return [block for block in found if block[:2] not in PICTURES]


def shell_lines() -> list[tuple[str, str]]:
    code = [(page, text.replace("\\\n", " ")) for page, language, text in blocks() if language in SHELL]
    return [(page, line.strip()) for page, text in code for line in text.splitlines()]


def test_a_test_runs_every_block():
    assert {(page, language) for page, language, _ in blocks() if language not in SHELL} == set(RUN_BY)
    for place in RUN_BY.values():
        module, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / module).read_text("utf-8"), place


@pytest.mark.parametrize("page", sorted({page for page, _ in shell_lines()}))
def test_every_line_of_shell_can_be_run(page, tmp_path):
    where = {"folder": tmp_path, "DATABASE_URL": f"sqlite:///{tmp_path}/scratch.db"}
    assert run(["engagement-db", "migrate", "--stand-ins"], **where).code == 0
    for _, line in (each for each in shell_lines() if each[0] == page):
        words = shlex.split(line, comments=True)
        match words:
            case ["engagement-db", *arguments]:
                if "--database" in arguments:
                    arguments[arguments.index("--database") + 1] = where["DATABASE_URL"]
                if arguments[0] == "new":
                    arguments += ["--directory", str(copy_scripts(tmp_path))]
                ended = run([words[0], *arguments], **where)
                assert ended.code == 0, ended.words
            case ["export", *settings]:
                assert {setting.partition("=")[0] for setting in settings} <= {
                    "DATABASE_URL",
                    "ENGAGEMENT_DB_REQUIRE_URL",
                }
            case ["pip", "install", package]:
                assert wanted_extras(package) <= set(metadata.metadata("engagement_db").get_all("Provides-Extra"))
            case ["python3", "-m", "venv", *_]:
                # That of the README is run by test_packaging.py.
                assert wanted_extras(line) <= set(metadata.metadata("engagement_db").get_all("Provides-Extra"))
            case [setting, "bash", script, *_] if setting.endswith("=1"):
                assert setting.partition("=")[0] in (ROOT / "tox.ini").read_text("utf-8").split()
                assert_options_are_known(ROOT / script, words)
            case ["bash", script, *_] | ["python", script, *_] if script != "-m":
                assert_options_are_known(ROOT / script, words)
            case ["python", "-m", module, *_]:
                assert_options_are_known(ROOT / module.replace(".", "/") / "command.py", words)
            case ["npm", "ci"]:
                assert (ROOT / page).with_name("package-lock.json").exists()
            case ["node", script, _, command, *_]:
                # tests/interop runs these commands.
                assert re.search(rf"\b{command}\b", (ROOT / page).with_name(script).read_text("utf-8"))
            case _:
                pytest.fail(f"{page} has a line that no test runs: {line}")


def test_a_standby_is_read_as_the_page_says(tmp_path):
    (block,) = (code for page, language, code in blocks() if (page, language) == ("docs/clusters.md", "python"))
    url = f"sqlite:///{tmp_path}/scratch.db"
    database = edb.open_database(url)
    with database.connection_context(), edb.bind_ctx(database):
        database.create_tables(edb.MODELS)
        user = edb.User.create(first_name="Ada", last_name="Lovelace", email="ada@example.org")
        edb.FeedPost.publish(user, "Hello")
        read = {"edb": edb, "user": user, "friends": []}
        exec(block.replace("postgresql://app@standby/platform", url) + "    seen = list(page)\n", read)
    assert [post.content for post in read["seen"]] == ["Hello"]


def test_the_page_of_the_commands_says_what_their_help_says():
    done = subprocess.run([sys.executable, ROOT / "docs" / "commands.py"], capture_output=True, text=True, check=True)
    assert PAGES["docs/commands.md"] == done.stdout, "run: python docs/commands.py > docs/commands.md"
    assert {f"## engagement-db {name}" for name in main.commands} <= set(done.stdout.splitlines())


def wanted_extras(package: str) -> set[str]:
    return {extra for extras in re.findall(r"\[([\w,]+)\]", package) for extra in extras.split(",")}


def assert_options_are_known(script: Path, words: list[str]) -> None:
    text = script.read_text("utf-8")
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in text] == []
