"""The command `engagement-db`: options and output of ``engagement_db.schema``."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import peewee

from engagement_db import MODELS, servers
from engagement_db.errors import ConfigurationError, EngagementError
from engagement_db.orm.urls import open_database
from engagement_db.schema import adopt as adopting
from engagement_db.schema import preview, runner, skeleton
from engagement_db.schema.check import detect_drift
from engagement_db.schema.lock import TIMEOUT_SECONDS
from engagement_db.schema.settings import chosen_url, lock_timeout_seconds
from engagement_db.schema.stub_tables import create_stub_tables

PENDING_EXIT_CODE = 1
ERROR_EXIT_CODE = 2


class _Failure(click.ClickException):
    exit_code = ERROR_EXIT_CODE


class _Commands(click.Group):
    """Prints the message of an expected error, without a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (EngagementError, peewee.PeeweeException) as error:
            raise _Failure(runner.error_message(error)) from None


def _database_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--database",
        "url",
        metavar="URL",
        help="The database (default: DATABASE_URL, then the file engagement.db in the current folder).",
    )(function)


def _lock_timeout_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--lock-timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help=f"How long to wait for another migration or a locked table (default {TIMEOUT_SECONDS:g}).",
    )(function)


def _json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


@click.group(cls=_Commands)
@click.version_option(package_name="engagement_db")
def main() -> None:
    """Migrate a database to the schema of engagement_db, and inspect it.

    Exit codes: 0 success or nothing to do, 1 something is left to do, 2 error.
    """


@main.command()
@_database_option
@_lock_timeout_option
@click.option("--to", metavar="REVISION", help="The last revision to apply (default: all).")
def migrate(url: str | None, lock_timeout: float | None, to: str | None) -> None:
    """Apply the pending revisions."""
    chosen, is_default = chosen_url(url)
    database = open_database(chosen)
    click.secho(f"Migrating {database.database}", fg="blue")
    done = runner.migrate(
        database,
        to=to,
        lock_timeout_seconds=lock_timeout_seconds(lock_timeout),
        prepare=create_stub_tables if is_default else None,
        report=click.echo,
    )
    click.echo(f"Applied {_listed(done)}." if done else "Nothing to apply.")


@main.command()
@_database_option
@_lock_timeout_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="How many revisions (default 1).")
@click.option("--to", metavar="REVISION", help="The revision to return to; 000 rolls back all.")
@click.option("--discard-rows", is_flag=True, help="Roll back although rows will be deleted.")
def rollback(
    url: str | None, lock_timeout: float | None, count: int | None, to: str | None, discard_rows: bool
) -> None:
    """Roll back the last revision, or more of them."""
    if count is not None and to is not None:
        raise click.UsageError("--count and --to are mutually exclusive.")
    database = _existing(url)
    click.secho(f"Rolling back {database.database}", fg="blue")
    done = runner.rollback(
        database,
        count=count or 1,
        to=to,
        discard_rows=discard_rows,
        lock_timeout_seconds=lock_timeout_seconds(lock_timeout),
        report=click.echo,
    )
    click.echo(f"Rolled back {_listed(done)}." if done else "Nothing to roll back.")


@main.command()
@_database_option
@_json_option
@click.pass_context
def status(context: click.Context, url: str | None, as_json: bool) -> None:
    """Show which revisions are applied, pending or unknown.

    Exit codes: 0 up to date, 1 pending revisions, 2 unknown or duplicate revisions, or an error.
    """
    current = runner.status(_existing(url))
    if as_json:
        click.echo(json.dumps(vars(current), indent=2))
    else:
        for mark, names in (("x", current.applied), (" ", current.pending), ("?", current.unknown)):
            for name in names:
                click.echo(f"[{mark}] {name}{'  (unknown to this version of the code)' if mark == '?' else ''}")
        for name in current.duplicates:
            click.echo(f"[!] {name}  (recorded more than once)")
        click.echo(f"{len(current.applied)} applied, {len(current.pending)} pending, {len(current.unknown)} unknown.")
    if current.unknown or current.duplicates:
        context.exit(ERROR_EXIT_CODE)
    if current.pending:
        context.exit(PENDING_EXIT_CODE)


@main.command()
@_database_option
@_json_option
@click.pass_context
def check(context: click.Context, url: str | None, as_json: bool) -> None:
    """Compare the live schema with the revisions and the models.

    Exit codes: 0 no difference or harmless ones, 1 actionable differences, 2 error.
    """
    found = detect_drift(_existing(url), runner.declared(runner.load()), [model.declared() for model in MODELS])
    actionable = [drift for drift in found if not drift.harmless]
    if as_json:
        rows = [
            {
                "table": drift.classified.difference.table,
                "kind": str(drift.classified.difference.kind),
                "name": drift.classified.difference.name,
                "message": drift.classified.message,
                "declared_by": drift.declared_by,
                "harmless": drift.harmless,
            }
            for drift in found
        ]
        click.echo(json.dumps({"drift": rows, "actionable": len(actionable)}, indent=2))
    else:
        for drift in found:
            click.echo(f"- {drift}")
        click.echo(_summary(len(actionable), len(found) - len(actionable)))
    if actionable:
        context.exit(PENDING_EXIT_CODE)


@main.command()
@_database_option
@_lock_timeout_option
@click.option("--dry-run", is_flag=True, help="Only inspect; record nothing.")
@click.option("--align", is_flag=True, help="Also add missing indexes, and missing checks that no row violates.")
@_json_option
@click.pass_context
def adopt(
    context: click.Context,
    url: str | None,
    lock_timeout: float | None,
    dry_run: bool,
    align: bool,
    as_json: bool,
) -> None:
    """Record what another tool migrated as applied (a baseline).

    Exit codes: 0 recorded or nothing to record, 1 incompatible and nothing recorded, 2 error.
    """
    adoption = adopting.adopt(
        _existing(url),
        dry_run=dry_run,
        align=align,
        lock_timeout_seconds=lock_timeout_seconds(lock_timeout),
        report=(lambda line: None) if as_json else click.echo,
    )
    click.echo(json.dumps(adopting.as_data(adoption), indent=2) if as_json else adopting.render(adoption, dry_run))
    if adoption.refused:
        context.exit(PENDING_EXIT_CODE)


@main.command("sql")
@_database_option
@click.option("--dialect", "name", metavar="NAME", help="sqlite, postgresql, mariadb or mysql; no connection is made.")
@click.option("--rollback", "is_rollback", is_flag=True, help="Print the rollback.")
def print_sql(url: str | None, name: str | None, is_rollback: bool) -> None:
    """Print the SQL of the pending revisions instead of running it.

    With --dialect, print the SQL of every revision, without a connection.
    """
    if url is not None and name is not None:
        raise click.UsageError("--database and --dialect are mutually exclusive.")
    revisions = runner.load()
    applied = tuple(revision.name for revision in revisions) if is_rollback else ()
    if name is not None:
        server, live = servers.named(name), None
    else:
        database = _existing(url)
        server, live = servers.of(database), servers.read(database)
        current = runner.status(database)
        current.require_consistent()
        applied = current.applied
    if is_rollback:
        lines = preview.script_down(server, [revision for revision in revisions if revision.name in applied], live)
    else:
        lines = preview.script_up(server, revisions, live, applied)
    for line in lines:
        click.echo(line)


@main.command()
@click.argument("name")
@click.option(
    "--step", type=click.Choice(skeleton.STEP_NAMES), default="column", help="What the revision adds (default column)."
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Where to write it (default: migrations/ of the checkout).",
)
def new(name: str, step: str, directory: Path | None) -> None:
    """Write the skeleton of a revision, to be edited.

    NAME describes the change, as in post_language.
    """
    path = skeleton.write_skeleton(name, step=step, directory=directory)
    click.echo(f"Created {path}. Edit it, then run `engagement-db migrate`.")


def _existing(url: str | None) -> peewee.Database:
    """Return the chosen database, whose file must exist: connecting would create it."""
    chosen, _ = chosen_url(url)
    database = open_database(chosen)
    is_file = servers.family(database).is_file_based and database.database != ":memory:"
    if is_file and not Path(database.database).exists():
        raise ConfigurationError(
            f"the file {database.database} does not exist. Run `engagement-db migrate` to create it, or name another "
            "database with --database."
        )
    return database


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} revisions: {', '.join(names)}"


def _summary(actionable: int, harmless: int) -> str:
    if actionable:
        return f"{_differences(actionable, 'actionable ')}, {harmless} harmless."
    ending = f", with {_differences(harmless, 'harmless ')}." if harmless else "."
    return f"Schema matches the revisions and the models{ending}"


def _differences(number: int, kind: str) -> str:
    return f"{number} {kind}difference{'' if number == 1 else 's'}"


if __name__ == "__main__":
    main()
