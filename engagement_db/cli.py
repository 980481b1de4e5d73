"""The command `engagement-db`: options and output of ``engagement_db.schema``.

A command imports what it alone needs, so that `status`, which monitoring runs, starts with little.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import peewee

from engagement_db import servers
from engagement_db.errors import ConfigurationError, EngagementError, SchemaMissing
from engagement_db.schema import history, script_files, settings, skeleton
from engagement_db.schema.lock import TIMEOUT_SECONDS
from engagement_db.schema.output import discard_rest, unfailing_output

if TYPE_CHECKING:
    from engagement_db.check_report import CheckReport
    from engagement_db.schema.revision import Revision

PENDING_EXIT_CODE = 1
ERROR_EXIT_CODE = 2


class _Failure(click.ClickException):
    exit_code = ERROR_EXIT_CODE


class _LeftToDo(click.ClickException):
    exit_code = PENDING_EXIT_CODE


class _Commands(click.Group):
    """A group of commands that prints the message of an expected error, without a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (EngagementError, peewee.PeeweeException) as error:
            from engagement_db.schema.runner import error_message

            failure = _LeftToDo if isinstance(error, SchemaMissing) else _Failure
            raise failure(error_message(error)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            if error.filename is None:
                discard_rest(sys.stdout)
            raise _Failure(f"cannot write {error.filename or 'standard output'}: {error.strerror}") from None


Command = Callable[..., Any]


def _inherit(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Return the value of an option, or that which was given before the command."""
    is_given = value is not None and value is not False
    return value if is_given or context.parent is None else context.parent.params.get(str(parameter.name))


def _database_options(function: Command) -> Command:
    function = click.option(
        "--require-url",
        is_flag=True,
        callback=_inherit,
        help="Refuse the embedded default: a database must be named.",
    )(function)
    return click.option(
        "--database",
        "url",
        metavar="URL",
        callback=_inherit,
        help="The database (default: DATABASE_URL, then the file engagement.db in the current folder).",
    )(function)


def _lock_timeout_option(function: Command) -> Command:
    return click.option(
        "--lock-timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        callback=_inherit,
        help=f"How long to wait for another migration or a locked table (default {TIMEOUT_SECONDS:g}).",
    )(function)


def _json_option(function: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def _to_option(help_text: str) -> Callable[[Command], Command]:
    return click.option("--to", metavar="REVISION", shell_complete=_complete_revision, help=help_text)


def _complete_revision(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in script_files.names() if name.startswith(incomplete)]


def _complete_dialect(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [server.name for server in servers.ALL if server.name.startswith(incomplete)]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@_database_options
@_lock_timeout_option
@click.version_option(package_name="engagement_db")
@click.pass_context
def main(context: click.Context, url: str | None, require_url: bool, lock_timeout: float | None) -> None:
    """Migrate a database to the schema of engagement_db, and inspect it.

    Exit codes: 0 success or nothing to do, 1 something is left to do, 2 error.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False
    elif os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        context.color = True


@main.command()
@_database_options
@_lock_timeout_option
@_to_option("The last revision to apply, by name or number (default: all).")
@click.option("--dry-run", is_flag=True, help="Only print the steps that would be applied.")
@click.option(
    "--stand-ins",
    "stub_tables",
    is_flag=True,
    help="First create the platform's tables that are missing: for scratch databases only.",
)
def migrate(
    url: str | None, require_url: bool, lock_timeout: float | None, to: str | None, dry_run: bool, stub_tables: bool
) -> None:
    """Apply the pending revisions."""
    from engagement_db.schema import runner
    from engagement_db.schema.stub_tables import create_stub_tables

    target = settings.choose_target(url, require_url=require_url)
    if dry_run:
        _print_plan(target, to, stub_tables)
        return

    def refuse_before_the_file_is_made() -> None:
        # The migration would refuse the same, but connecting has created the file by then.
        if settings.is_missing_file(target):
            _plan_of_new_file(target, to, stub_tables)

    with unfailing_output(), _database(target, "Migrating", first=refuse_before_the_file_is_made) as database:
        done = runner.migrate(
            database,
            to=to,
            lock_timeout_seconds=settings.lock_timeout_seconds(lock_timeout),
            prepare=create_stub_tables if target.is_default or stub_tables else None,
            report=click.echo,
        )
        click.echo(f"Applied {_listed(done)}." if done else "Nothing to apply.")


def _plan_of_new_file(target: settings.Target, to: str | None, stub_tables: bool) -> list[tuple[str, str, bool]]:
    return _plan(target, to, stub_tables, servers.family(settings.unconnected(target)), servers.Catalog(), ())


def _plan(
    target: settings.Target,
    to: str | None,
    stub_tables: bool,
    server: servers.Server,
    live: servers.Catalog,
    applied: Sequence[str],
) -> list[tuple[str, str, bool]]:
    from engagement_db.schema import preview, runner
    from engagement_db.schema.simulate import Simulation
    from engagement_db.schema.stub_tables import STUB_TABLES

    stubs = STUB_TABLES if target.is_default or stub_tables else ()
    simulation = Simulation(runner.load(), server, live, applied, stubs)
    return preview.plan(simulation, runner.select_pending(simulation.revisions, applied, to))


def _print_plan(target: settings.Target, to: str | None, stub_tables: bool) -> None:
    from engagement_db.schema import runner

    if settings.is_missing_file(target):
        click.secho(f"Dry run on {target}; the file would be created", fg="blue")
        plan = _plan_of_new_file(target, to, stub_tables)
    else:
        with _database(target, "Dry run on") as database:
            current = runner.status(database)
            current.require_consistent()
            live = servers.read(database)
            plan = _plan(target, to, stub_tables, servers.of(database), live, current.applied)
    for revision, title, is_applied in plan:
        click.echo(f"{revision}: {title}{' (already applied)' if is_applied else ''}")
    names = list(dict.fromkeys(revision for revision, _, _ in plan))
    click.echo(f"Would apply {_listed(names)}." if names else "Nothing to apply.")


@main.command()
@_database_options
@_lock_timeout_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="How many revisions (default 1).")
@_to_option("The revision to return to, by name or number; 0 rolls back all.")
@click.option("--discard-rows", is_flag=True, help="Roll back although rows will be deleted.")
@click.option(
    "--online", is_flag=True, help="MySQL: drop a column in two statements that rewrite no table, not in one."
)
def rollback(
    url: str | None,
    require_url: bool,
    lock_timeout: float | None,
    count: int | None,
    to: str | None,
    discard_rows: bool,
    online: bool,
) -> None:
    """Roll back the last revision, or more of them."""
    if count is not None and to is not None:
        raise click.UsageError("--count and --to are mutually exclusive.")
    from engagement_db.schema import runner

    target = settings.choose_target(url, require_url=require_url)
    with unfailing_output(), _existing(target, "Rolling back") as database:
        done = runner.rollback(
            database,
            count=count or 1,
            to=to,
            discard_rows=discard_rows,
            online=online,
            lock_timeout_seconds=settings.lock_timeout_seconds(lock_timeout),
            report=click.echo,
        )
        click.echo(f"Rolled back {_listed(done)}." if done else "Nothing to roll back.")


@main.command()
@_database_options
@_json_option
@click.pass_context
def status(context: click.Context, url: str | None, require_url: bool, as_json: bool) -> None:
    """Show which revisions are applied, pending or unknown.

    Exit codes: 0 up to date, 1 pending revisions, 2 unknown or duplicate revisions, or an error.
    """
    target = settings.choose_target(url, require_url=require_url)
    with _existing(target, "Status of", aside=as_json) as database:
        current = history.status(database, script_files.names())
    if as_json:
        click.echo(json.dumps(vars(current), indent=2))
    else:
        for mark, names in (("x", current.applied), (" ", current.pending), ("?", current.unknown)):
            for name in names:
                click.echo(f"[{mark}] {name}{'  (unknown to this version of the code)' if mark == '?' else ''}")
        for name in current.duplicates:
            click.echo(f"[!] {name}  (recorded more than once)")
        click.echo(f"{len(current.applied)} applied, {len(current.pending)} pending, {len(current.unknown)} unknown.")
    if current.problems:
        context.exit(ERROR_EXIT_CODE)
    if current.pending:
        context.exit(PENDING_EXIT_CODE)


@main.command()
@_database_options
@click.option("--rows", "with_rows", is_flag=True, help="Also check all rows: books, audit trails, comments, values.")
@click.option("--each", "is_each", is_flag=True, help="Check the databases named by URLS, for example all nodes.")
@_json_option
@click.argument("urls", nargs=-1, metavar="[URLS]")
@click.pass_context
def check(
    context: click.Context,
    url: str | None,
    require_url: bool,
    with_rows: bool,
    is_each: bool,
    as_json: bool,
    urls: tuple[str, ...],
) -> None:
    """Compare the live schema with the revisions and the models.

    On SQLite, also report values that other clients wrote in another form; on PostgreSQL, sequences whose next id is
    already taken. With --rows, also report everything that find_problems() finds, on every server. With --each, check
    each database named by URLS; one that cannot be reached is an error, and the others are still checked.

    Exit codes: 0 no difference or harmless ones, 1 actionable differences, pending revisions or problems in rows,
    2 unknown or duplicate revisions, or an error; with --each the highest.
    """
    from engagement_db.schema.runner import error_message

    if is_each != bool(urls) or (is_each and url is not None):
        raise click.UsageError("--each takes the URLs of the databases, instead of --database.")
    if not is_each:
        report = _checked(settings.choose_target(url, require_url=require_url), with_rows, as_json)
        click.echo(json.dumps(report.as_data(), indent=2) if as_json else "\n".join(report.lines(with_rows)))
        context.exit(report.exit_code)
    codes, nodes = [], []
    for target in map(settings.choose_target, urls):
        try:
            report = _checked(target, with_rows, as_json)
        except (EngagementError, peewee.PeeweeException) as error:
            click.secho(f"Error: {error_message(error)}", err=as_json)
            codes.append(ERROR_EXIT_CODE)
            nodes.append({"database": str(target), "error": error_message(error)})
            continue
        if not as_json:
            click.echo("\n".join(report.lines(with_rows)))
        codes.append(report.exit_code)
        nodes.append({"database": str(target), **report.as_data()})
    if as_json:
        click.echo(json.dumps(nodes, indent=2))
    context.exit(max(codes))


def _checked(target: settings.Target, with_rows: bool, as_json: bool) -> "CheckReport":
    from engagement_db.check_report import check_database

    with _existing(target, "Checking", aside=as_json) as database:
        return check_database(database, with_rows=with_rows)


@main.command()
@_database_options
@_lock_timeout_option
@click.option("--dry-run", is_flag=True, help="Only inspect; record nothing.")
@click.option("--align", is_flag=True, help="Also make the safe changes: columns, indexes, checks, NOT NULL.")
@_json_option
@click.pass_context
def adopt(
    context: click.Context,
    url: str | None,
    require_url: bool,
    lock_timeout: float | None,
    dry_run: bool,
    align: bool,
    as_json: bool,
) -> None:
    """Record what another tool migrated as applied (a baseline).

    Exit codes: 0 recorded or nothing to record, 1 incompatible and nothing recorded, 2 error.
    """
    from engagement_db.schema import adopt as adopting

    target = settings.choose_target(url, require_url=require_url)
    with unfailing_output(), _existing(target, "Inspecting" if dry_run else "Adopting", aside=as_json) as database:
        adoption = adopting.adopt(
            database,
            dry_run=dry_run,
            align=align,
            lock_timeout_seconds=settings.lock_timeout_seconds(lock_timeout),
            report=(lambda line: None) if as_json else click.echo,
        )
        text = json.dumps(adopting.as_data(adoption), indent=2) if as_json else adopting.render(adoption, dry_run)
        click.echo(text)
    if adoption.refused:
        context.exit(PENDING_EXIT_CODE)


@main.command("sql")
@_database_options
@click.option(
    "--dialect",
    "name",
    metavar="NAME",
    shell_complete=_complete_dialect,
    help="sqlite, postgresql, mariadb or mysql; no connection is made.",
)
@click.option("--rollback", "is_rollback", is_flag=True, help="Print the rollback.")
@click.pass_context
def print_sql(context: click.Context, url: str | None, require_url: bool, name: str | None, is_rollback: bool) -> None:
    """Print the SQL of the pending revisions instead of running it.

    With --dialect, print the SQL of every revision, without a connection.
    """
    from engagement_db.schema import runner

    revisions = runner.load()
    if name is not None:
        if url is not None:
            raise click.UsageError("--database and --dialect are mutually exclusive.")
        _print_lines(servers.named(name), revisions, None, script_files.names() if is_rollback else (), is_rollback)
        return
    target = settings.choose_target(url, require_url=require_url)
    with _existing(target, "-- SQL for") as database:
        current = runner.status(database)
        current.require_consistent()
        _print_lines(servers.of(database), revisions, servers.read(database), current.applied, is_rollback)


def _print_lines(
    server: servers.Server,
    revisions: "Sequence[Revision]",
    live: servers.Catalog | None,
    applied: Sequence[str],
    is_rollback: bool,
) -> None:
    from engagement_db.schema import preview

    if is_rollback:
        lines = preview.script_down(server, [revision for revision in revisions if revision.name in applied], live)
    else:
        lines = preview.script_up(server, revisions, live, applied)
    for line in lines:
        click.echo(line)


@main.command("diagram")
@_database_options
@click.argument("name", metavar="[tables|escrow|account|dispute]", default="tables")
@click.option("--live", is_flag=True, help="Draw the tables as the database has them; --database implies it.")
@click.option(
    "--format", "language", type=click.Choice(["mermaid", "dot", "svg"]), default="mermaid", show_default=True
)
def print_diagram(url: str | None, require_url: bool, name: str, live: bool, language: str) -> None:
    """Print a diagram of the tables or of statuses.

    It shows what the models declare and the verbs allow, without a connection, or with --live the tables and foreign
    keys of a database. SVG requires Graphviz.
    """
    from engagement_db import MODELS, diagrams

    if name not in diagrams.NAMES:
        raise click.BadParameter(f"{name!r} is none of {', '.join(diagrams.NAMES)}.")
    tables = [model.declared() for model in MODELS]
    if live or url is not None:
        if name != "tables":
            raise click.UsageError(f"The moves of {name} are the same in every database; only tables can be live.")
        with _existing(settings.choose_target(url, require_url=require_url), "Drawing", aside=True) as database:
            catalog = servers.read(database)
            tables = [table for table in (catalog.table(declared.name) for declared in tables) if table is not None]
    click.echo(diagrams.draw(name, language, tables))


@main.command("grants")
@_database_options
@click.option("--dialect", "name", metavar="NAME", shell_complete=_complete_dialect, help="No connection is made.")
@click.option("--migrator", metavar="ROLE", default="engagement_migrator", show_default=True)
@click.option("--service", metavar="ROLE", default="engagement_service", show_default=True)
@click.option("--auditor", metavar="ROLE", default="engagement_auditor", show_default=True)
@click.option("--platform", metavar="ROLE", default="platform", show_default=True, help="Owns the platform's tables.")
def print_grants(url: str | None, require_url: bool, name: str | None, **roles: str) -> None:
    """Print the GRANTs of migrator, service and auditor.

    Run them in the database as an administrator; on PostgreSQL the migrator may run those of service and auditor. The
    roles have to exist.
    """
    from engagement_db.schema import grants

    if name is not None and url is not None:
        raise click.UsageError("--database and --dialect are mutually exclusive.")
    if name is not None:
        server = servers.named(name)
    else:
        target = settings.choose_target(url, require_url=require_url)
        server = servers.family(settings.unconnected(target))
    chosen = grants.Roles(**roles)
    first = grants.migrator_grants(server, chosen)
    click.echo("-- Before the first migration")
    for statement in first:
        click.echo(f"{statement};")
    click.echo("-- After each migration")
    for statement in grants.reader_and_writer_grants(server, chosen):
        click.echo(f"{statement};")


@main.command("release-due")
@_database_options
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many at most.")
@click.option("--by", metavar="USER_ID", type=int, help="The user who releases them (default: the system itself).")
@_json_option
@click.pass_context
def print_released(
    context: click.Context, url: str | None, require_url: bool, limit: int, by: int | None, as_json: bool
) -> None:
    """Release the escrow transactions that are due.

    The oldest are released first. Made for cron: any number of runs may overlap.

    Exit codes: 0 released or nothing due, 1 some could not be released, 2 error.
    """
    from engagement_db.orm.connect import bind_ctx
    from engagement_db.trust.release import release_due

    target = settings.choose_target(url, require_url=require_url)
    with _existing(target, "Releasing what is due in", aside=as_json) as database, bind_ctx(database):
        run = release_due(limit, by=by)
    failed = {failure.transaction.reference: str(failure.error) for failure in run.failed}
    if as_json:
        click.echo(json.dumps({"released": [row.reference for row in run.released], "failed": failed}, indent=2))
    else:
        for reference, reason in failed.items():
            click.echo(f"- {reference}: {reason}")
        click.echo(f"{len(run.released)} released, {len(failed)} failed.")
    if failed:
        context.exit(PENDING_EXIT_CODE)


@main.command()
@click.argument("name")
@click.option(
    "--step", type=click.Choice(skeleton.STEP_NAMES), default="column", help="What the revision adds (default column)."
)
@click.option(
    "--directory", type=click.Path(path_type=Path), help="Where to write it (default: migrations/ of the checkout)."
)
def new(name: str, step: str, directory: Path | None) -> None:
    """Write the skeleton of a revision, to be edited.

    NAME describes the change, as in post_language.
    """
    path = skeleton.write_skeleton(name, step=step, directory=directory)
    click.echo(f"Created {path}. Edit it, then run `engagement-db migrate`.")


@contextmanager
def _database(
    target: settings.Target, action: str, *, aside: bool = False, first: Callable[[], object] = lambda: None
) -> Iterator[peewee.Database]:
    """Name the target, on standard error if ``aside``, do what comes ``first``, then connect for the block."""
    click.secho(f"{action} {target}", fg="blue", err=aside)
    first()
    database = settings.connect(target)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _existing(target: settings.Target, action: str, *, aside: bool = False) -> Iterator[peewee.Database]:
    """Do the same for a database whose file must exist: connecting would create it."""
    if settings.is_missing_file(target):
        options = "" if target.is_default else " --stand-ins"
        raise ConfigurationError(
            f"{target} does not exist. Run `engagement-db migrate{options}` to create it, or name another database "
            "with --database."
        )
    with _database(target, action, aside=aside) as database:
        yield database


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} revisions: {', '.join(names)}"


if __name__ == "__main__":
    main()
