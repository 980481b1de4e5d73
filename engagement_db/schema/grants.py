"""The rights of three roles: who migrates, the service, and who audits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from engagement_db.schema.history import TABLE
from engagement_db.schema.stub_tables import PLATFORM_NAMES
from engagement_db.servers import Server

_KEPT: Final = "SELECT, INSERT, UPDATE"
# What the library never changes or deletes, the server refuses to change or delete too. A role that locks a row needs
# UPDATE of some column.
_SERVICE: Final[Mapping[str, str]] = {
    "users": "SELECT",
    "projects": "SELECT, UPDATE ({ownerId}, {updatedAt})",
    "gigs": "SELECT",
    "feed_posts": "SELECT, INSERT, UPDATE, DELETE",
    "feed_reactions": "SELECT, INSERT, UPDATE, DELETE",
    "feed_comments": "SELECT, INSERT, UPDATE, DELETE",
    "feed_shares": "SELECT, INSERT, UPDATE, DELETE",
    "feed_activity_logs": "SELECT, INSERT, UPDATE ({postId}, {actorId})",
    "escrow_accounts": _KEPT,
    "escrow_transactions": _KEPT,
    "dispute_cases": _KEPT,
    "dispute_events": "SELECT, INSERT, UPDATE ({updatedAt})",
    TABLE: "SELECT",
}


@dataclass(frozen=True)
class Roles:
    """The names of the roles, and of the role that owns the platform's tables."""

    migrator: str = "engagement_migrator"
    service: str = "engagement_service"
    auditor: str = "engagement_auditor"
    platform: str = "platform"


def migrator_grants(server: Server, roles: Roles) -> list[str]:
    """Return what an administrator grants before the first migration. Raises ConfigurationError for SQLite."""
    return server.grants_to_migrate(roles.migrator, roles.platform, PLATFORM_NAMES)


def reader_and_writer_grants(server: Server, roles: Roles) -> Iterator[str]:
    """Yield what the migrator, or an administrator, grants after a migration that added tables.

    Raises ConfigurationError for SQLite.
    """
    for role, rights in ((roles.service, _SERVICE), (roles.auditor, dict.fromkeys(_SERVICE, "SELECT"))):
        grantee = server.quoted(role)
        yield from server.grants_to_enter(role)
        for table, right in rights.items():
            columns = {name: server.quoted(name) for name in ("ownerId", "updatedAt", "postId", "actorId")}
            yield f"GRANT {right.format(**columns)} ON {server.quoted(table)} TO {grantee}"
            if "INSERT" in right:
                yield from server.grants_to_number(role, table)
