"""Settings of MySQL and MariaDB: what kind of cluster a server belongs to, and which of them a migration refuses."""

from collections.abc import Iterator, Mapping
from typing import Final

from engagement_db.sql_tokens import literal

# Settings with which tables of the library, or their migration, do not work: name, value, the reason and the remedy.
_UNFIT_SETTINGS: Final = (
    (
        "group_replication_single_primary_mode",
        "OFF",
        "this server belongs to a group in multi-primary mode, where writes to tables with CASCADE or SET NULL keys "
        "fail and two deployers stop the group; run SELECT group_replication_switch_to_single_primary_mode()",
    ),
    (
        "group_replication_enforce_update_everywhere_checks",
        "ON",
        "group_replication_enforce_update_everywhere_checks is on, which refuses writes to tables with CASCADE or SET "
        "NULL keys (3098); turn it off",
    ),
    (
        "wsrep_on",
        "OFF",
        "wsrep_on is off in this session of a cluster's node, so that nothing of this would reach the other nodes; "
        "turn it on",
    ),
    (
        "wsrep_osu_method",
        "RSU",
        "wsrep_OSU_method is RSU: the tables would be changed on this node alone, and migratehistory on all; set it to "
        "TOI",
    ),
    (
        "default_storage_engine",
        "MYISAM",
        "default_storage_engine is MyISAM, which would store migratehistory and keeps no transaction; set it to InnoDB",
    ),
)


def settings_sql(*names: str) -> str:
    """Return the statement that shows those of the settings that the server has, with their values."""
    return f"SHOW VARIABLES WHERE Variable_name IN ({', '.join(map(literal, names))})"


def has_galera(settings: Mapping[str, str]) -> bool:
    """Return whether the server is a node of a Galera cluster, given its ``wsrep_provider``."""
    return settings.get("wsrep_provider", "none") not in ("", "none")


UNFIT_SETTINGS_SQL: Final = settings_sql("wsrep_provider", *(name for name, _, _ in _UNFIT_SETTINGS))


def unfit_settings(settings: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence with its remedy for each setting with which tables of the library do not work."""
    live = {name.lower(): value for name, value in settings.items()}
    for name, value, sentence in _UNFIT_SETTINGS:
        if live.get(name, "").upper() == value and (has_galera(live) or not name.startswith("wsrep_")):
            yield sentence
