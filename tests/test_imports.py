"""Layers: imports go one way, and one module alone asks which server a database is."""

import ast
import functools
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import engagement_db as edb
from engagement_db import public, servers

PACKAGE = Path(edb.__file__).parent
MIGRATIONS = Path(__file__).parent.parent / "migrations"

# A module imports from the layers below its own, and from nowhere else in the package.
LAYERS = [
    {"errors", "orm.columns", "problems", "sql_tokens"},
    {"expressions"},
    {"tables"},
    {"servers.driver", "servers.mysql_grants", "servers.mysql_settings", "servers.sqlite_text"},
    {"servers.dialect"},
    {"servers.ddl", "servers.catalog"},
    {"servers.base", "servers.key_types", "servers.mysql_catalog", "servers.postgresql_catalog"},
    {"servers.sqlite", "servers.postgresql", "servers.mysql"},
    {"servers"},
    {"orm.fields"},
    {"orm.bound", "orm.loading", "orm.sessions"},
    {"orm.failures", "orm.inserts"},
    {"orm.cursors", "orm.protection", "orm.statements", "orm.transactions", "orm.urls"},
    {"orm.models", "orm.keyset"},
    {"orm.connect", "orm.odd_values", "orm.paging", "orm.rows"},
    {"platform"},
    {"repairs"},
    {"feed.words", "trust.words", "trust.currencies", "trust.payload"},
    {"feed.activity", "feed.erasure", "feed.threads", "feed.timeline", "feed.visibility"}
    | {"trust.transitions", "trust.money"},
    {"feed.repairs"},
    {"feed.posts", "feed.roots", "trust.accounts", "trust.queues", "trust.trail", "trust.events", "trust.stored"},
    {"trust.announcements"},
    {"feed.reactions", "feed.comments", "feed.shares", "trust.moves", "trust.problems"},
    {"feed.problems", "trust.transactions"},
    {"trust.disputes", "trust.totals", "trust.release", "trust.replay"},
    {"trust.case_history", "trust.listings", "trust.overview"},
    {"trust.audit"},
    {"trust.books"},
    {"row_check"},
    {"readiness"},
    {"diagrams"},
    {"public"},
]
# What the rest of the package sees of the servers: not the module of any one of them.
SERVERS = {"servers", "servers.catalog", "servers.ddl", "servers.dialect", "servers.driver"}
UNDER_SCHEMA = {"errors", "expressions", "sql_tokens", "tables"} | SERVERS
UNDER_MIGRATIONS = {"tables", "schema"}
# The commands open the database that a url names.
ALSO = {"schema.settings": {"orm", "orm.urls"}}

SERVER_NAMES = {server.name for server in servers.ALL} | {server.display_name for server in servers.ALL}


def modules():
    """Each module of the package, by its name in it, and its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith("migrations"):
            yield name, path


MODULES = dict(modules())


@functools.cache
def parsed(name):
    return ast.parse(MODULES[name].read_text())


def _package(name):
    """The module that an imported name belongs to, or the package that is known as a whole."""
    parts = name.split(".")[1:]
    known = set().union(*LAYERS)
    return next((package for package in (".".join(parts[:2]), parts[0]) if package in known), parts[0])


def is_for_checkers(node):
    """Whether this block is read by type checkers only: what it names is not there when the module runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(tree):
    """The modules of the package that the source imports, at its top or inside a function."""
    found = set()
    for_checkers = {leaf for node in ast.walk(tree) if is_for_checkers(node) for leaf in ast.walk(node)}
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {_package(name) for name in names if name.startswith("engagement_db.")}
        assert "engagement_db" not in names, "a module of the package imports its neighbours, not the whole"
    return found


def allowed(name):
    if name.startswith("schema"):
        return UNDER_SCHEMA | {"schema"} | ALSO.get(name, set())
    if name in ("cli", "check_report"):
        # The commands import anything, and nothing imports them.
        return set().union({"MODELS", "schema"}, {"check_report"} if name == "cli" else set(), *LAYERS)
    if name == "readiness":
        # The schema is loaded when it is asked.
        return {"errors", "orm.bound", "schema"}
    if name == "__main__":
        return {"cli"}
    if name.partition(".")[0] in ("testing", "pytest_plugin"):
        return {"testing", "schema"}.union(*LAYERS)
    if name in ("__init__", "contrib", "orm", "feed", "trust"):
        return set()
    if name.startswith("contrib."):
        # Modules for users, over the models; none of the package imports them.
        return {"contrib"}.union(*LAYERS)
    layer = next(number for number, layer_modules in enumerate(LAYERS) if name in layer_modules)
    below = set().union(*LAYERS[:layer])
    return (
        below
        if name.startswith("servers")
        else {module for module in below if not module.startswith("servers")} | SERVERS
    )


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name):
    assert imported(parsed(name)) - allowed(name) == set()


@pytest.mark.parametrize("path", sorted(MIGRATIONS.glob("*.py")), ids=lambda path: path.stem)
def test_a_migration_imports_steps_and_never_a_model(path):
    assert imported(ast.parse(path.read_text())) - UNDER_MIGRATIONS == set()


def questions_of_servers(tree):
    """Where the source asks for a database class, a server by identity, or a server's name."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name("isinstance" | "issubclass"), args=[_, kinds]):
                names = [getattr(kind, "attr", getattr(kind, "id", "")) for kind in ast.walk(kinds)]
                if any(name.endswith("Database") for name in names):
                    yield node.lineno, ast.unparse(node)
            case ast.Attribute(value=ast.Name("servers"), attr=attribute) if attribute.isupper():
                if attribute != "ALL":
                    yield node.lineno, ast.unparse(node)
            case ast.Compare():
                words = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
                if words & SERVER_NAMES:
                    yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("name", MODULES)
def test_only_the_package_of_servers_asks_which_server_it_is(name):
    found = list(questions_of_servers(parsed(name)))
    if name == "servers":
        assert found != [], "the search finds what it looks for"
    else:
        assert found == []


def test_what_is_exported_is_there_once_and_in_order():
    assert set(edb.__all__) == {name for name in vars(public) if name[0].isalpha()}
    assert {getattr(edb, name) is getattr(public, name) for name in edb.__all__} == {True}
    assert set(edb.__all__) <= set(dir(edb))
    constants = [name for name in edb.__all__ if name.isupper()]
    classes = [name for name in edb.__all__ if name[0].isupper() and not name.isupper()]
    functions = [name for name in edb.__all__ if name[0].islower()]
    assert edb.__all__ == sorted(constants) + sorted(classes) + sorted(functions)


def test_every_error_is_exported():
    classes = {
        name
        for name, value in vars(sys.modules["engagement_db.errors"]).items()
        if isinstance(value, type) and value.__module__ == "engagement_db.errors"
    }
    assert classes <= set(edb.__all__)


def test_a_name_that_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'engagement_db' has no attribute 'publish'"):
        edb.publish  # noqa: B018


def printed(source):
    # -P: the package that the tests use, not the one in the folder where they were started.
    done = subprocess.run([sys.executable, "-P", "-c", source], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


def loaded_by(source):
    """The modules that running the source loads, in a process that prints nothing else."""
    return set(printed(f"{source}\nimport sys\nprint(*sys.modules)").split())


def test_importing_loads_nothing_but_the_standard_library():
    before, after = loaded_by("import importlib.util, typing"), loaded_by("import engagement_db")
    assert after - before == {"engagement_db"}


def test_the_models_load_peewee_and_the_standard_library_only():
    before, after = (
        loaded_by("import peewee, playhouse.pool"),
        loaded_by("import engagement_db; engagement_db.FeedPost"),
    )
    added = {name.partition(".")[0] for name in after - before}
    assert added <= {"engagement_db", "playhouse"} | sys.stdlib_module_names


def test_whichever_model_is_used_first_knows_all_that_refer_to_it():
    source = "from engagement_db import User; print(len(User._meta.backrefs))"
    assert printed(source) == str(len(edb.User._meta.backrefs))


def test_status_loads_no_model_and_no_migration():
    loaded = loaded_by("import engagement_db.cli")
    assert not loaded & {"engagement_db.orm.models", "engagement_db.schema.steps", "peewee_migrate"}


def cpu_seconds(source):
    """The least time of the processor that a process takes for the source, in several."""

    def once():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", source], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(5))


def test_importing_costs_no_more_than_importing_peewee():
    assert cpu_seconds("import engagement_db") <= 1.15 * cpu_seconds("import peewee")


def test_no_foreign_key_is_left_unresolved():
    source = "import engagement_db, peewee; engagement_db.MODELS; print(peewee.DeferredForeignKey._unresolved)"
    assert printed(source) == "set()"
