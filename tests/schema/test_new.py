"""`engagement-db new` and `pw_migrate create` write a script that both commands accept, and nothing else."""

import contextlib
import sys
from pathlib import Path

import pytest
from commands import copy_scripts, pw_migrate, run, start

import engagement_db as edb
from engagement_db import servers
from engagement_db.errors import MigrationError
from engagement_db.orm.urls import open_database
from engagement_db.schema import preview, runner, script_files, skeleton
from engagement_db.schema.revision import declared
from engagement_db.schema.stub_tables import create_stub_tables

RELEASED = script_files.names()
NEXT = f"{int(RELEASED[-1][:3]) + 1:03}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of the scripts in `migrations`."""
    copy_scripts(tmp_path)
    return tmp_path


@pytest.mark.parametrize("step", skeleton.STEP_NAMES)
def test_new_writes_a_script_that_loads_and_is_refused_until_it_is_edited(folder: Path, step: str) -> None:
    result = run(["engagement-db", "new", "post_language", "--step", step, "--directory", "migrations"], folder=folder)
    assert result.code == 0, result.words
    path = folder / "migrations" / f"{NEXT}_post_language.py"
    assert result.stdout == f"Created migrations/{path.name}. Edit it, then run `engagement-db migrate`.\n"
    assert script_files.names(path.parent) == (*RELEASED, path.stem)
    with contextlib.closing(open_database("sqlite://")) as database:
        create_stub_tables(database)
        with pytest.raises(MigrationError, match="TABLE|PARENT"):
            runner.migrate(database, directory=path.parent)


@pytest.mark.parametrize("step", skeleton.STEP_NAMES)
def test_an_edited_skeleton_is_applied_and_rolled_back(folder: Path, step: str) -> None:
    scripts = folder / "migrations"
    path = skeleton.write_skeleton("post_language", step=step, directory=scripts)
    table = "feed_reactions" if step == "label" else "feed_posts"
    text = path.read_text("utf-8").replace("TABLE", table).replace("PARENT", "users")
    text = text.replace(
        '["all", "its", "labels"], default="all"', repr([str(label) for label in edb.ReactionType]) + ', default="like"'
    )
    for placeholder, column in (("firstColumn", "userId"), ("secondColumn", "content"), ("newRule", "ids")):
        text = text.replace(placeholder, column)
    text = text.replace("someColumn", "reactionType" if step == "label" else "id")
    path.write_text(text)
    with contextlib.closing(open_database("sqlite://")) as database:
        create_stub_tables(database)
        assert runner.migrate(database, directory=scripts) == (*RELEASED, path.stem)
        assert runner.rollback(database, directory=scripts) == (path.stem,)


def test_a_script_that_changes_an_unknown_table_disturbs_no_command(folder: Path) -> None:
    skeleton.write_skeleton("post_language", step="index", directory=folder / "migrations")
    revisions = runner.load(folder / "migrations")
    assert declared(revisions)["TABLE"].indexes
    assert any("TABLE" in line for line in preview.script_up(servers.ALL[0], revisions))


def test_the_next_number_is_above_the_highest(folder: Path) -> None:
    scripts = folder / "migrations"
    (scripts / "041_later.py").write_text(skeleton.skeleton("041_later"))
    assert skeleton.write_skeleton("last", directory=scripts).name == "042_last.py"
    (scripts / "999_last.py").write_text(skeleton.skeleton("999_last"))
    with pytest.raises(edb.ConfigurationError, match="revision 999"):
        skeleton.write_skeleton("one_more", directory=scripts)


@pytest.mark.parametrize("name", ["", "Post", "post-language", "004_post", "../post", "post language", "po.st", "é"])
@pytest.mark.parametrize("command", ["engagement-db new", "pw_migrate create"])
def test_an_invalid_name_is_refused_and_nothing_is_written(folder: Path, command: str, name: str) -> None:
    before = sorted(folder.rglob("*"))
    program, verb = command.split()
    result = run([program, verb, "--directory", "migrations", "--", name], folder=folder)
    assert result.code != 0
    assert "invalid name" in result.stderr
    assert "Traceback" not in result.words
    assert sorted(folder.rglob("*")) == before


def test_a_missing_folder_is_refused_and_not_created(tmp_path: Path) -> None:
    result = run(["engagement-db", "new", "post_language", "--directory", "migrations"], folder=tmp_path)
    assert result.code == 2
    assert "there is no folder migrations to write to" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_revisions_of_an_installed_package_are_not_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = Path(edb.__file__).parent / "migrations"
    monkeypatch.setattr(script_files, "scripts_directory", lambda: installed)
    before = sorted(installed.glob("*"))
    with pytest.raises(edb.ConfigurationError, match="installed package"):
        skeleton.write_skeleton("post_language")
    assert sorted(installed.glob("*")) == before


def test_pw_migrate_create_writes_a_script_that_engagement_db_accepts(folder: Path) -> None:
    result = pw_migrate(folder, "create", "post_language")
    assert result.code == 0, result.words
    path = folder / "migrations" / f"{NEXT}_post_language.py"
    assert path.read_text("utf-8") == skeleton.skeleton(path.stem)
    assert f"migrations/{path.name}" in result.words
    assert script_files.names(path.parent) == (*RELEASED, path.stem)
    assert len(runner.load(path.parent)) == len(RELEASED) + 1


MODELS = """
import peewee
import engagement_db

class FeedPost(peewee.Model):
    language = peewee.CharField(null=True)
    class Meta:
        table_name = "feed_posts"
"""


def test_pw_migrate_create_auto_writes_what_it_detected_as_comments(folder: Path) -> None:
    (folder / "changed.py").write_text(MODELS)
    command = ["pw_migrate", "create", "--auto", "--auto-source", "changed", "post_language"]
    result = start(command, lambda: sys.path.append(str(folder)), folder=folder).wait()
    assert result.code == 0, result.words
    path = folder / "migrations" / f"{NEXT}_post_language.py"
    assert "# " in path.read_text("utf-8")
    assert "language=" in path.read_text("utf-8")
    assert len(runner.load(path.parent)) == len(RELEASED) + 1


def test_pw_migrate_create_never_overwrites(folder: Path) -> None:
    scripts = folder / "migrations"
    (scripts / f"{RELEASED[0]}.py").unlink()
    before = {path.name: path.read_text("utf-8") for path in scripts.glob("*.py")}
    result = pw_migrate(folder, "create", RELEASED[-1].partition("_")[2])
    assert result.code == 1
    assert "`engagement-db new" in result.stderr
    assert "Traceback" not in result.words
    assert {path.name: path.read_text("utf-8") for path in scripts.glob("*.py")} == before
