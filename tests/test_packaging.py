"""What is installed is whole: as a wheel, from the sdist and editable, each in a clean virtual environment."""

import email
import os
import re
import shutil
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import engagement_db as edb

ROOT = Path(__file__).parent.parent
REVISIONS = sorted(path.stem for path in (ROOT / "migrations").glob("[0-9]*.py"))
SOURCES = [
    "engagement_db",
    "migrations",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "MANIFEST.in",
    "tests",
    "LICENSE",
]


def run(*command, folder):
    # What leads to this checkout, or to a real database, must not help an installation along.
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DATABASE_URL")}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the package is built from, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules")
            )
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


class Environment:
    """A clean virtual environment and an empty folder to work in."""

    def __init__(self, folder):
        self.work = folder / "work"
        self.work.mkdir()
        self.programs = folder / "venv" / "bin"
        venv.create(folder / "venv", with_pip=True, symlinks=True)

    def run(self, program, *arguments):
        return run(str(self.programs / program), *arguments, folder=self.work)

    def python(self, source):
        return self.run("python", "-c", source).strip()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return lambda name: Environment(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def sdist(source, environment):
    builder = environment("builder")
    builder.run("pip", "install", "--quiet", "build")
    builder.run("python", "-m", "build", "--sdist", "--outdir", str(builder.work), str(source))
    (archive,) = builder.work.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(source, environment):
    maker = environment("maker")
    maker.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(maker.work), str(source))
    (archive,) = maker.work.glob("*.whl")
    return archive


@pytest.fixture(scope="module", params=["wheel", "sdist", "editable"])
def installed(request, environment, source):
    made = environment(request.param)
    what = ["--editable", source] if request.param == "editable" else [request.getfixturevalue(request.param)]
    made.run("pip", "install", "--quiet", *map(str, what))
    return made


def test_the_wheel_carries_the_package_its_scripts_and_its_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "engagement_db").rglob("*.py")}
    assert modules <= names
    assert "engagement_db/py.typed" in names
    assert {f"engagement_db/migrations/{name}.py" for name in [*REVISIONS, "conf"]} <= names
    top = {name.split("/")[0] for name in names}
    assert top == {"engagement_db", f"engagement_db-{edb.__version__}.dist-info"}


def test_the_wheel_declares_its_dependencies(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    said = email.message_from_bytes(archive.read(metadata))
    assert (said["Name"], said["Version"], said["Requires-Python"]) == (
        "engagement_db",
        edb.__version__,
        ">=3.11",
    )
    needed = [name for name in said.get_all("Requires-Dist") if "extra ==" not in name]
    assert sorted(name.split(">")[0].split("<")[0] for name in needed) == [
        "click",
        "peewee",
        "peewee-migrate",
    ]
    assert said.get_all("Provides-Extra") == [
        "postgres",
        "psycopg",
        "mysql",
        "fastapi",
        "pydantic",
        "test",
        "dev",
    ]
    (scripts,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
    entry_points = archive.read(scripts).decode()
    assert "engagement-db = engagement_db.cli:main" in entry_points
    assert "engagement_db = engagement_db.pytest_plugin" in entry_points
    assert said["Author"] == "The engagement_db authors"
    assert said["Keywords"]


def test_the_sdist_carries_all_that_a_wheel_is_made_of_and_no_tests_that_could_not_run(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "engagement_db/py.typed"} <= names
    assert {f"migrations/{name}.py" for name in [*REVISIONS, "conf"]} <= names
    assert [name for name in names if name.startswith("tests/")] == []


def test_importing_needs_no_driver(installed):
    assert installed.python("import engagement_db; print(engagement_db.__version__)") == edb.__version__
    refusal = installed.python(
        "import engagement_db as edb\n"
        "try: edb.connect('postgresql://app:s3cret@db/shop')\n"
        "except edb.ConfigurationError as error: print(error)"
    )
    assert refusal == "PostgreSQL needs a driver that is not installed; install engagement_db[postgres]."


def tables_of(installed, database):
    return set(
        installed.python(
            f"import engagement_db as edb; print(*edb.connect('sqlite:///{database}').get_tables())"
        ).split()
    )


def test_a_sample_service_passes_its_own_tests_with_what_is_installed(environment, wheel):
    """The service has nothing but the wheel and its extras, and the kit for its tests comes with pytest."""
    made = environment("service")
    made.run("pip", "install", "--quiet", f"{wheel}[fastapi,pydantic]", "pytest", "httpx")
    shutil.copytree(ROOT / "tests" / "sample_service", made.work / "service")
    said = made.run("python", "-m", "pytest", "-q", "service")
    assert " passed" in said


def test_the_archives_are_what_an_index_takes(environment, wheel, sdist):
    checker = environment("checker")
    checker.run("pip", "install", "--quiet", "twine")
    assert checker.run("twine", "check", "--strict", str(wheel), str(sdist)).count("PASSED") == 2


ALL_TABLES = {model._meta.table_name for model in edb.MODELS}


def test_the_command_migrates_with_no_configuration(installed):
    said = installed.run("engagement-db", "migrate")
    assert [name for name in REVISIONS if name in said] == REVISIONS
    assert tables_of(installed, "engagement.db") >= ALL_TABLES


def test_the_first_command_of_the_readme_installs_and_migrates(source, tmp_path):
    checkout = shutil.copytree(source, tmp_path / "checkout")
    command = re.search(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[1]
    run("bash", "-e", "-c", command, folder=checkout)
    with edb.open_database(f"sqlite:///{checkout}/engagement.db") as database:
        assert set(database.get_tables()) >= ALL_TABLES


@pytest.mark.parametrize("command", ["engagement-db", "pw_migrate"])
def test_both_commands_migrate_the_database_of_the_platform(installed, command):
    database = f"{command}.db"
    installed.python(
        "from engagement_db.orm.urls import open_database\n"
        "from engagement_db.schema.stub_tables import create_stub_tables\n"
        f"create_stub_tables(open_database('sqlite:///{database}'))"
    )
    assert not tables_of(installed, database) & {"feed_posts", "escrow_accounts"}
    scripts = installed.python("from engagement_db.schema import script_files; print(script_files.scripts_directory())")
    where = ["--directory", scripts] if command == "pw_migrate" else []
    installed.run(command, "migrate", *where, "--database", f"sqlite:///{database}")
    assert tables_of(installed, database) >= ALL_TABLES
