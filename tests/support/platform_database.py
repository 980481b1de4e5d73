"""A database as a live platform has it, made by plain SQL through the raw drivers.

Its `users` and `projects` have more than the models know: columns of their own, child tables with
cascading keys, triggers, views, generated columns, partial and expression indexes, counters that are ahead
of their rows, comments and character sets of an older day.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2
import pymysql
from servers import without_driver

USERS, PROJECTS, GIGS = 60, 80, 40
MEMBERS, FILES = 120, 100


def family(url: str) -> str:
    """The server's name as the tests call it."""
    scheme = urlsplit(url).scheme.partition("+")[0]
    return "postgres" if scheme == "postgresql" else scheme


class Session:
    """A connection of the raw driver. Statements quote identifiers in double quotes, on every server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = _connection(url)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows that the statement returns; what it changes is committed."""
        cursor = self._connection.cursor()
        cursor.execute(quoted(self._url, statement))
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def insert(self, table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        names = ", ".join(f'"{column}"' for column in columns)
        marks = ", ".join("?" if family(self._url) == "sqlite" else "%s" for _ in columns)
        statement = f'INSERT INTO "{table}" ({names}) VALUES ({marks})'
        self._connection.cursor().executemany(quoted(self._url, statement), rows)

    def close(self) -> None:
        self._connection.close()


def session(url: str) -> contextlib.closing[Session]:
    return contextlib.closing(Session(url))


def _connection(url: str) -> Any:
    parts = urlsplit(url)
    match family(url):
        case "sqlite":
            connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            connection.execute("PRAGMA foreign_keys = ON")
            return connection
        case "postgres":
            connection = psycopg2.connect(without_driver(url))
            connection.autocommit = True
            return connection
        case _:
            return pymysql.connect(
                host=parts.hostname,
                port=parts.port or 3306,
                user=unquote(parts.username or "root"),
                password=unquote(parts.password or ""),
                database=parts.path.removeprefix("/"),
                charset="utf8mb4",
                autocommit=True,
                **options(url),
            )


def options(url: str) -> dict[str, Any]:
    """What keeps connections cheap: reading the certificates takes longer than all that is asked."""
    return {"ssl_disabled": True} if family(url) in ("mariadb", "mysql") and not urlsplit(url).password else {}


def execute(url: str, *statements: str) -> None:
    """Run the statements one by one, each committed by itself."""
    with session(url) as database:
        for statement in statements:
            database.ask(statement)


def let_names_repeat(url: str) -> None:
    """Drop the unique index over the names in the history, which plain peewee-migrate does not make."""
    table = " ON migratehistory" if family(url) in ("mysql", "mariadb") else ""
    execute(url, f"DROP INDEX migratehistory_name{table}")


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with session(url) as database:
        return database.ask(statement)


def quoted(url: str, statement: str) -> str:
    return statement.replace('"', "`") if family(url) in ("mariadb", "mysql") else statement


def build(url: str) -> None:
    """Fill an empty database with the platform: its tables, what depends on them, and their rows."""
    with session(url) as database:
        for statement in _DEFINITIONS[family(url)]:
            database.ask(statement)
        database.ask("BEGIN")
        for table, columns, rows in _rows():
            database.insert(table, columns, rows)
        # The last rows are gone again: each counter stands ahead of what is there.
        for table, last in _LAST.items():
            database.ask(f"DELETE FROM {table} WHERE id = {last}")
        database.ask("COMMIT")


_LAST = {"project_members": MEMBERS, "projects": PROJECTS, "gigs": GIGS, "users": USERS}


def _rows() -> Iterator[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]:
    yield (
        "users",
        ("firstName", "lastName", "email", "password", "userType"),
        [
            (f"Ada {n}", "Łovelace" if n % 2 else "O'Neill", f"ada{n}@example.org", "$2b$10$xxxx", kind)
            for n in range(1, USERS + 1)
            for kind in [("client", "freelancer", "agency")[n % 3]]
        ],
    )
    yield (
        "projects",
        ("title", "description", "status", "slug", "budget", "startsAt", "endsAt"),
        [
            (
                f"Project {n} ü",
                None if n % 5 == 0 else f"About project {n}, {'long ' * (n % 7)}",
                ("draft", "open", "done")[n % 3],
                f"project-{n}",
                n * 10,
                "2024-08-01 09:00:00",
                None if n % 4 else "2024-09-01 09:00:00",
            )
            for n in range(1, PROJECTS + 1)
        ],
    )
    yield "gigs", ("title", "description"), [(f"Gig {n}", "a gig") for n in range(1, GIGS + 1)]
    yield (
        "project_members",
        ("projectId", "userId", "role"),
        # Nobody who is deleted at the end owns or joins anything.
        [(n % (PROJECTS - 1) + 1, n * 7 % (USERS - 1) + 1, "member") for n in range(1, MEMBERS + 1)],
    )
    yield (
        "project_files",
        ("projectId", "path"),
        [(n % (PROJECTS - 1) + 1, f"/files/{n}.pdf") for n in range(1, FILES + 1)],
    )


_CHILDREN_OF_SQLITE = [
    """CREATE TABLE project_members (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    "projectId" INTEGER NOT NULL REFERENCES "projects" ("id") ON DELETE CASCADE ON UPDATE CASCADE,
    "userId" INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL DEFAULT 'member',
    "joinedAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
)""",
    """CREATE TABLE project_files (
    id INTEGER PRIMARY KEY,
    "projectId" INTEGER NOT NULL, path TEXT NOT NULL,
    CONSTRAINT project_files_project FOREIGN KEY ("projectId") REFERENCES projects (id) ON DELETE CASCADE
)""",
    """CREATE TABLE project_audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, "projectId" INTEGER, what TEXT,
    "at" DATETIME DEFAULT CURRENT_TIMESTAMP
)""",
]

_SQLITE = [
    """CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    "firstName" VARCHAR(255) NOT NULL, "lastName" VARCHAR(255) NOT NULL,
    email VARCHAR(255) NOT NULL UNIQUE, -- as the person typed it
    password VARCHAR(255) NOT NULL,
    `userType` TEXT NOT NULL DEFAULT 'client' CHECK ("userType" IN ('client', 'freelancer', 'agency')),
    "fullName" TEXT GENERATED ALWAYS AS ("firstName" || ' ' || "lastName") VIRTUAL,
    "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
)""",
    """CREATE TABLE "projects" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT,
    "title" VARCHAR(255) NOT NULL COLLATE NOCASE,
    "description" TEXT, -- free text, may be long
    "status" VARCHAR(60) DEFAULT 'draft',
    [slug] VARCHAR(80),
    budget DECIMAL(12,2) NOT NULL DEFAULT 0 CHECK (budget >= 0),
    "titleLength" INTEGER GENERATED ALWAYS AS (length("title")) STORED,
    "startsAt" DATETIME, "endsAt" DATETIME,
    "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT projects_window CHECK ("endsAt" IS NULL OR "endsAt" >= "startsAt"), -- an order, not a range
    UNIQUE (slug)
)""",
    """CREATE TABLE gigs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, title VARCHAR(255) NOT NULL, description TEXT,
    "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
)""",
    *_CHILDREN_OF_SQLITE,
    'CREATE INDEX projects_open ON projects ("createdAt" DESC) WHERE "status" = \'open\'',
    'CREATE INDEX projects_lower_title ON projects (lower("title"), "status")',
    'CREATE INDEX project_members_user ON project_members ("userId")',
    """CREATE TRIGGER projects_updated AFTER UPDATE ON projects FOR EACH ROW WHEN NEW.status <> OLD.status
BEGIN
    INSERT INTO project_audit ("projectId", what) VALUES (NEW.id, OLD.status || ' to ' || NEW.status);
END""",
    """CREATE TRIGGER projects_deleted BEFORE DELETE ON projects
BEGIN
    INSERT INTO project_audit ("projectId", what) VALUES (OLD.id, 'deleted');
END""",
    """CREATE VIEW project_teams AS
    SELECT p.id, p.title, u."fullName" FROM projects p
    JOIN project_members m ON m."projectId" = p.id JOIN users u ON u.id = m."userId" """,
    "CREATE VIEW open_projects AS SELECT * FROM projects WHERE status = 'open'",
]

_POSTGRES = [
    """CREATE TYPE "enum_users_userType" AS ENUM ('client', 'freelancer', 'agency')""",
    "CREATE DOMAIN money_amount AS numeric(12,2) CHECK (VALUE >= 0)",
    """CREATE TABLE users (
    id SERIAL PRIMARY KEY,
    "firstName" VARCHAR(255) NOT NULL, "lastName" VARCHAR(255) NOT NULL,
    email VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) NOT NULL,
    "userType" "enum_users_userType" NOT NULL DEFAULT 'client',
    "fullName" TEXT GENERATED ALWAYS AS ("firstName" || ' ' || "lastName") STORED,
    "createdAt" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
)""",
    """CREATE TABLE projects (
    id INTEGER GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    title VARCHAR(255) COLLATE "C" NOT NULL, description TEXT, status VARCHAR(60) DEFAULT 'draft',
    dropped_long_ago INTEGER, slug VARCHAR(80) UNIQUE, budget money_amount NOT NULL DEFAULT 0,
    "titleLength" INTEGER GENERATED ALWAYS AS (length(title)) STORED,
    "startsAt" TIMESTAMPTZ, "endsAt" TIMESTAMPTZ,
    "createdAt" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT projects_window CHECK ("endsAt" IS NULL OR "endsAt" >= "startsAt")
) WITH (fillfactor = 90)""",
    "ALTER TABLE projects DROP COLUMN dropped_long_ago",
    "ALTER TABLE projects ALTER COLUMN status SET STATISTICS 500",
    """CREATE TABLE gigs (
    id SERIAL PRIMARY KEY, title VARCHAR(255) NOT NULL, description TEXT,
    "createdAt" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
)""",
    """CREATE TABLE project_members (
    id SERIAL PRIMARY KEY,
    "projectId" INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE ON UPDATE CASCADE,
    "userId" INTEGER NOT NULL REFERENCES users ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    role TEXT NOT NULL DEFAULT 'member', "joinedAt" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
)""",
    """CREATE TABLE project_files (
    id SERIAL PRIMARY KEY,
    "projectId" INTEGER NOT NULL CONSTRAINT project_files_project REFERENCES projects ON DELETE CASCADE,
    path TEXT NOT NULL
)""",
    """CREATE TABLE project_audit (
    id SERIAL PRIMARY KEY, "projectId" INTEGER, what TEXT, "at" TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
)""",
    """CREATE INDEX projects_open ON projects ("createdAt" DESC) WHERE status = 'open'""",
    "CREATE INDEX projects_lower_title ON projects (lower(title) text_pattern_ops) INCLUDE (status)",
    'CREATE INDEX project_members_user ON project_members ("userId")',
    "CREATE STATISTICS projects_status_slug ON status, slug FROM projects",
    """CREATE FUNCTION audit_project() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO project_audit ("projectId", what) VALUES (OLD.id, TG_OP);
    RETURN COALESCE(NEW, OLD);
END $$""",
    """CREATE TRIGGER projects_updated AFTER UPDATE OF status ON projects FOR EACH ROW
    WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE FUNCTION audit_project()""",
    "CREATE TRIGGER projects_deleted BEFORE DELETE ON projects FOR EACH ROW EXECUTE FUNCTION audit_project()",
    """CREATE VIEW project_teams AS
    SELECT p.id, p.title, u."fullName" FROM projects p
    JOIN project_members m ON m."projectId" = p.id JOIN users u ON u.id = m."userId" """,
    "CREATE VIEW open_projects AS SELECT * FROM projects WHERE status = 'open'",
    "CREATE MATERIALIZED VIEW project_counts AS SELECT status, count(*) FROM projects GROUP BY status",
    "CREATE POLICY everybody ON projects USING (true)",
    "CREATE RULE gigs_stay AS ON DELETE TO gigs WHERE OLD.id < 0 DO INSTEAD NOTHING",
    "COMMENT ON TABLE projects IS 'What people work on'",
    "COMMENT ON COLUMN projects.slug IS 'In the address'",
    "GRANT SELECT ON projects TO PUBLIC",
]


def _of_mysql(kept: str, *expression_indexes: str) -> list[str]:
    return [
        """CREATE TABLE users (
    id INT AUTO_INCREMENT PRIMARY KEY,
    `firstName` VARCHAR(255) NOT NULL, `lastName` VARCHAR(255) NOT NULL,
    email VARCHAR(255) NOT NULL, password VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    `userType` ENUM('client', 'freelancer', 'agency') NOT NULL DEFAULT 'client',
    `fullName` VARCHAR(600) GENERATED ALWAYS AS (CONCAT(`firstName`, ' ', `lastName`)) VIRTUAL,
    `createdAt` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    `updatedAt` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    UNIQUE KEY users_email (email)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci COMMENT='Everybody'""",
        f"""CREATE TABLE projects (
    id INT AUTO_INCREMENT PRIMARY KEY,
    title VARCHAR(255) NOT NULL, description TEXT, status VARCHAR(60) DEFAULT 'draft' COMMENT 'a small state',
    slug VARCHAR(80) CHARACTER SET latin1 COLLATE latin1_german1_ci COMMENT 'it''s in the address',
    budget DECIMAL(12,2) NOT NULL DEFAULT 0,
    `titleLength` INT GENERATED ALWAYS AS (CHAR_LENGTH(title)) STORED,
    `lowerTitle` VARCHAR(255) GENERATED ALWAYS AS (LOWER(title)) {kept},
    `startsAt` DATETIME(3), `endsAt` DATETIME(3) NULL,
    `createdAt` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    `updatedAt` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    CONSTRAINT projects_budget CHECK (budget >= 0),
    CONSTRAINT projects_window CHECK (`endsAt` IS NULL OR `endsAt` >= `startsAt`),
    UNIQUE KEY projects_slug (slug), KEY projects_description (description(40)),
    KEY projects_created (`createdAt` DESC), KEY projects_lower_title (`lowerTitle`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_swedish_ci COMMENT='Work' ROW_FORMAT=DYNAMIC""",
        """CREATE TABLE gigs (
    id INT AUTO_INCREMENT PRIMARY KEY, title VARCHAR(255) NOT NULL, description TEXT,
    `createdAt` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    `updatedAt` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
) DEFAULT CHARSET=latin1""",
        """CREATE TABLE project_members (
    id INT AUTO_INCREMENT PRIMARY KEY, `projectId` INT NOT NULL, `userId` INT NOT NULL,
    role VARCHAR(20) NOT NULL DEFAULT 'member', `joinedAt` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT project_members_project FOREIGN KEY (`projectId`) REFERENCES projects (id)
        ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT project_members_user FOREIGN KEY (`userId`) REFERENCES users (id) ON DELETE CASCADE
)""",
        """CREATE TABLE project_files (
    id INT AUTO_INCREMENT PRIMARY KEY, `projectId` INT NOT NULL, path VARCHAR(255) NOT NULL,
    CONSTRAINT project_files_project FOREIGN KEY (`projectId`) REFERENCES projects (id) ON DELETE CASCADE
)""",
        """CREATE TABLE project_audit (
    id INT AUTO_INCREMENT PRIMARY KEY, `projectId` INT, what TEXT, `at` DATETIME DEFAULT CURRENT_TIMESTAMP
)""",
        *expression_indexes,
        """CREATE TRIGGER projects_updated AFTER UPDATE ON projects FOR EACH ROW
BEGIN
    IF NEW.status <> OLD.status THEN
        INSERT INTO project_audit (`projectId`, what) VALUES (NEW.id, CONCAT(OLD.status, ' to ', NEW.status));
    END IF;
END""",
        """CREATE TRIGGER projects_deleted BEFORE DELETE ON projects FOR EACH ROW
    INSERT INTO project_audit (`projectId`, what) VALUES (OLD.id, 'deleted')""",
        """CREATE VIEW project_teams AS
    SELECT p.id, p.title, u.`fullName` FROM projects p
    JOIN project_members m ON m.`projectId` = p.id JOIN users u ON u.id = m.`userId`""",
        "CREATE VIEW open_projects AS SELECT * FROM projects WHERE status = 'open'",
    ]


# MariaDB adds no column at once to a table that has an index over a VIRTUAL one.
_MARIADB = _of_mysql("STORED")
_MYSQL = _of_mysql("VIRTUAL", "CREATE INDEX projects_upper_title ON projects ((UPPER(title)), status)")
_DEFINITIONS = {"sqlite": _SQLITE, "postgres": _POSTGRES, "mariadb": _MARIADB, "mysql": _MYSQL}
