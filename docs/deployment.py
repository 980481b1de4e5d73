"""Print docs/deployment.md: what `engagement-db migrate` sends to each server, drawn from the revisions."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from engagement_db import servers
from engagement_db.schema import runner
from engagement_db.schema.revision import Revision
from engagement_db.schema.simulate import Simulation
from engagement_db.schema.steps import RequireTables
from engagement_db.servers import Change, Server

HEAD = """# A deployment

What `engagement-db migrate` does to a database of the platform that has none of the revisions, in order. Made by
`python docs/deployment.py > docs/deployment.md` from the revisions; a test fails when it is stale, and
`engagement-db sql --dialect NAME` prints the statements in full.

A second deployer waits at the lock, reads the history after it, and finds nothing to do. One that is killed leaves what
is committed; the next run begins at the first step that is missing. A new table has foreign keys to the platform's
tables, which are locked for the instant in which it is created.
"""
TITLES = {"postgresql": "PostgreSQL", "mysql": "MySQL and MariaDB", "sqlite": "SQLite"}
LOCKS = {
    "postgresql": "The lock belongs to the session, so that it never outlives its process.",
    "mysql": "The lock belongs to the session, so that it never outlives its process. MariaDB takes the same way.",
    "sqlite": "The lock is that of the file: the run is one transaction, and other writers wait for all of it.",
}
WIDTH = 64
# What the words of a statement promise about other sessions, the first that fits.
MANNERS = {
    r"CREATE INDEX CONCURRENTLY": "reads the table while writes go on",
    r"VALIDATE CONSTRAINT": "reads the table while writes go on",
    r"NOT VALID": "metadata only, for an instant",
    r"ALGORITHM=INSTANT": "metadata only, for an instant",
    r"LOCK=NONE": "while writes go on",
    r"ADD COLUMN": "metadata only, for an instant",
    r"CREATE INDEX": "reads the table",
}


def diagram(server: Server, revisions: Sequence[Revision]) -> Iterator[str]:
    simulation = Simulation(revisions, server)
    yield "sequenceDiagram"
    yield "    participant d as engagement-db migrate"
    yield f"    participant s as {TITLES.get(server.name, server.display_name)}"
    yield "    d->>s: take the migration lock"
    yield "    d->>s: read migratehistory and the catalog, refuse what conflicts"
    for revision in simulation.revisions:
        outside = any(step.runs_outside_transaction(simulation.before(revision), server) for step in revision.steps)
        in_one = server.transactional_ddl and not outside
        manner = "" if server.is_file_based else ", in one transaction" if in_one else ", statement by statement"
        yield "    rect rgba(128, 128, 128, 0.12)"
        yield f"    note over d,s: {revision.name}{manner}"
        for step, changes in simulation.changes(revision):
            if not isinstance(step, RequireTables):
                yield from messages(step.title, changes)
        yield f"    d->>s: record {revision.name} in migratehistory"
        yield "    end"
    yield "    d->>s: release the lock"


def messages(title: str, changes: Sequence[Change]) -> Iterator[str]:
    """Return a new table as one message, anything else statement by statement."""
    kinds = [re.match(r"CREATE (?:UNIQUE )?(\w+)", change.statement) for change in changes]
    if all(kinds) and any(kind and kind[1] == "TABLE" for kind in kinds):
        counts = {name: sum(kind is not None and kind[1] == word for kind in kinds) for name, word in PARTS}
        beside = ", ".join(
            f"{count} {name}{'' if count == 1 else 'es' if name == 'index' else 's'}"
            for name, count in counts.items()
            if count
        )
        yield f"    d->>s: {title}{f', {beside}' if beside else ''}"
        return
    for change in changes:
        yield f"    d->>s: {shown(change.statement)}"
        manner = next((words for pattern, words in MANNERS.items() if re.search(pattern, change.statement)), None)
        if manner:
            yield f"    note right of s: {manner}"
        if change.fallback:
            yield "    note right of s: where that is refused, it is rebuilt while writes go on"
        if change.violations_query:
            yield "    d->>s: look for rows that violate it, and if there are any drop it again"


PARTS = (("enum type", "TYPE"), ("index", "INDEX"))


def shown(statement: str) -> str:
    """Return a statement as a message: without quotes, in lines that are not too wide."""
    return "<br/>".join(textwrap.wrap(statement.replace('"', "").replace("`", ""), WIDTH))


def page() -> str:
    revisions = runner.load()
    lines = [HEAD]
    for name, title in TITLES.items():
        lines += [f"## {title}\n", f"{LOCKS[name]}\n"]
        lines += ["```mermaid", *diagram(servers.named(name), revisions), "```\n"]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
