"""The command `engagement-db`: a thin door to ``engagement_db.schema``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import peewee

from engagement_db import MODELS, dialects
from engagement_db.errors import ConfigurationError, EngagementError
from engagement_db.orm.urls import open_database
from engagement_db.schema import adopt as adopting
from engagement_db.schema import catalog, command, runner, sql
from engagement_db.schema.check import drifts
from engagement_db.schema.lock import TIMEOUT_SECONDS
from engagement_db.schema.platform import create_stand_ins

PENDING_EXIT_CODE = 1
ERROR_EXIT_CODE = 2


class _Failure(click.ClickException):
    exit_code = ERROR_EXIT_CODE


class _Commands(click.Group):
    """Says what went wrong in words; a traceback is for faults of ours."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (EngagementError, peewee.PeeweeException) as error:
            raise _Failure(command.words_of(error)) from None


def _database_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--database",
        "url",
        metavar="URL",
        help="The database; else DATABASE_URL, else the file engagement.db in the current folder.",
    )(function)


def _lock_timeout_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--lock-timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help=f"How long to wait for another deployer or a busy table (default {TIMEOUT_SECONDS:g}).",
    )(function)


def _json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


@click.group(cls=_Commands)
@click.version_option(package_name="engagement_db")
def main() -> None:
    """Bring a database to the schema of engagement_db, and see where it stands.

    Exit codes: 0 all is well, 1 something is to be done, 2 it could not be done.
    """


@main.command()
@_database_option
@_lock_timeout_option
@click.option("--to", metavar="REVISION", help="Stop after this revision.")
def migrate(url: str | None, lock_timeout: float | None, to: str | None) -> None:
    """Apply every pending revision."""
    chosen, is_default = command.chosen_url(url)
    database = open_database(chosen)
    click.secho(f"Migrating {database.database}", fg="blue")
    done = runner.migrate(
        database,
        to=to,
        lock_timeout_seconds=_seconds(lock_timeout),
        prepare=create_stand_ins if is_default else None,
        report=click.echo,
    )
    click.echo(f"Applied {', '.join(done)}." if done else "Nothing to do: every revision is applied.")


@main.command()
@_database_option
@_lock_timeout_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Take back the last N revisions (default 1).")
@click.option("--to", metavar="REVISION", help="Take back every revision after this one (000: every one).")
@click.option("--discard-rows", is_flag=True, help="Go on although rows will be thrown away.")
def rollback(
    url: str | None, lock_timeout: float | None, count: int | None, to: str | None, discard_rows: bool
) -> None:
    """Take back the last revision, or more of them."""
    if count is not None and to is not None:
        raise click.UsageError("--count and --to exclude each other; give one of them.")
    database = _existing(url)
    click.secho(f"Rolling back {database.database}", fg="blue")
    done = runner.rollback(
        database,
        count=count or 1,
        to=to,
        discard_rows=discard_rows,
        lock_timeout_seconds=_seconds(lock_timeout),
        report=click.echo,
    )
    click.echo(f"Took back {', '.join(done)}." if done else "Nothing to do.")


@main.command()
@_database_option
@_json_option
@click.pass_context
def status(context: click.Context, url: str | None, as_json: bool) -> None:
    """Show which revisions are applied, pending or unknown.

    Exit codes: 0 nothing is pending, 1 something is, 2 the history or the database cannot be trusted or reached.
    """
    standing = runner.status(_existing(url))
    if as_json:
        click.echo(json.dumps(vars(standing), indent=2))
    else:
        for mark, names in (("x", standing.applied), (" ", standing.pending), ("?", standing.unknown)):
            for name in names:
                click.echo(f"[{mark}] {name}{'  (not known to this code)' if mark == '?' else ''}")
        for name in standing.repeated:
            click.echo(f"[!] {name}  (recorded more than once)")
        click.echo(
            f"{len(standing.applied)} applied, {len(standing.pending)} pending, {len(standing.unknown)} unknown."
        )
    if standing.unknown or standing.repeated:
        context.exit(ERROR_EXIT_CODE)
    if standing.pending:
        context.exit(PENDING_EXIT_CODE)


@main.command()
@_database_option
@_json_option
@click.pass_context
def check(context: click.Context, url: str | None, as_json: bool) -> None:
    """Compare the live schema with the revisions and the models.

    Exit codes: 0 nothing is to be mended, 1 something is, 2 the database cannot be reached.
    """
    found = drifts(_existing(url), runner.declared(runner.load()), [model.declared() for model in MODELS])
    serious = [drift for drift in found if not drift.harmless]
    if as_json:
        rows = [
            {
                "table": drift.difference.table,
                "kind": str(drift.difference.kind),
                "name": drift.difference.name,
                "words": drift.difference.words,
                "declared_by": drift.declared_by,
                "harmless": drift.harmless,
            }
            for drift in found
        ]
        click.echo(json.dumps({"drifts": rows, "serious": len(serious)}, indent=2))
    else:
        for drift in found:
            click.echo(f"- {drift}")
        click.echo(f"{len(serious)} differences to mend, {len(found) - len(serious)} harmless.")
    if serious:
        context.exit(PENDING_EXIT_CODE)


@main.command()
@_database_option
@_lock_timeout_option
@click.option("--dry-run", is_flag=True, help="Look and tell; record nothing.")
@click.option("--align", is_flag=True, help="Also add missing indexes, and the missing checks that every row holds.")
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
    """Record what another tool migrated as applied.

    Exit codes: 0 it is compatible, 1 it is not and nothing was recorded, 2 the database cannot be reached.
    """
    adoption = adopting.adopt(
        _existing(url),
        dry_run=dry_run,
        align=align,
        lock_timeout_seconds=_seconds(lock_timeout),
        report=(lambda line: None) if as_json else click.echo,
    )
    click.echo(json.dumps(adopting.as_data(adoption), indent=2) if as_json else adopting.told(adoption, dry_run))
    if adoption.refused:
        context.exit(PENDING_EXIT_CODE)


@main.command("sql")
@_database_option
@click.option("--dialect", "name", metavar="NAME", help="sqlite, postgresql, mariadb or mysql; no connection is made.")
@click.option("--rollback", "is_rollback", is_flag=True, help="Print the way down.")
def print_sql(url: str | None, name: str | None, is_rollback: bool) -> None:
    """Print the exact statements instead of running them.

    With --dialect those of every revision, without a connection; otherwise those that the database still lacks.
    """
    if url is not None and name is not None:
        raise click.UsageError("--database and --dialect exclude each other; give one of them.")
    revisions = runner.load()
    applied = tuple(revision.name for revision in revisions) if is_rollback else ()
    if name is not None:
        dialect, live = dialects.named(name), None
    else:
        database = _existing(url)
        dialect, live = dialects.of(database), catalog.of(database)
        standing = runner.status(database)
        standing.refuse_doubt()
        applied = standing.applied
    if is_rollback:
        lines = sql.script_down(dialect, [revision for revision in revisions if revision.name in applied], live)
    else:
        lines = sql.script_up(dialect, revisions, live, applied)
    for line in lines:
        click.echo(line)


def _existing(url: str | None) -> peewee.Database:
    """Return the chosen database; reading must not create the file of one that is not there."""
    chosen, _ = command.chosen_url(url)
    database = open_database(chosen)
    is_file = dialects.family(database).lives_in_file and database.database != ":memory:"
    if is_file and not Path(database.database).exists():
        raise ConfigurationError(
            f"the file {database.database} does not exist; run `engagement-db migrate` to make it, or name another "
            "database with --database."
        )
    return database


def _seconds(lock_timeout: float | None) -> float:
    return command.lock_timeout_seconds() if lock_timeout is None else lock_timeout


if __name__ == "__main__":
    main()
