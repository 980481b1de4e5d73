"""Throwaway clusters on loopback: several servers that hold the same databases, and what stands in front of them.

    galera()             three nodes of MariaDB Galera
    group_replication()  three members of a MySQL group with one primary
    replicated(family)   a MySQL or MariaDB server, and a replica that follows it by GTID
    streaming()          a PostgreSQL primary, a synchronous standby and an asynchronous one
    logical()            two PostgreSQL servers for a publication and its subscription
    pgbouncer(server)    PgBouncer before a server, in session and in transaction mode
    haproxy(nodes, kind) HAProxy before them: all connections to the first that takes writes

Each is a context manager that stops what it started and removes its folders.
"""

import contextlib
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import psycopg2
import pymysql
import throwaway
from servers import MySQLServer, PostgresServer, Server, skip_or_fail
from throwaway import Process, Programs, Unavailable, free_port
from waiting import wait_until

PRIMARY, SYNCHRONOUS, ASYNCHRONOUS = 0, 1, 2
# Server sessions of a PgBouncer for one database.
POOL_SIZE = 4

PAGE: Final = Path(__file__).parents[2] / "docs" / "clusters.md"
_GROUP: Final = "6e6f6465-732d-4f66-8a67-726f75706161"
_TIMEOUT_SECONDS: Final = 60


@dataclass(frozen=True)
class Cluster:
    """Servers that hold the same databases; a new one is made on the first."""

    nodes: Sequence[Server]
    _made: list[str] = field(default_factory=list)

    def create_database(self) -> list[str]:
        """Make an empty database and return its URL on each node, as soon as each has it; drop the one before."""
        while self._made:
            self.nodes[0].drop_database(self._made.pop())
        first = self.nodes[0].create_database()
        self._made.append(first)
        urls = [at(first, node) for node in self.nodes]
        for url in urls:
            wait_until(lambda url=url: can_connect(url), f"{url} can be connected to")
        return urls

    def start(self) -> None:
        """Every node is a part of the cluster, also one that was killed."""
        for node in self.nodes:
            node.start()


@contextlib.contextmanager
def brought_up(cluster: contextlib.AbstractContextManager[Cluster], name: str) -> Iterator[Cluster]:
    """The cluster, answering. The test fails without it, or is skipped where only root can have it."""
    try:
        with cluster as nodes:
            yield nodes
    except Unavailable as reason:
        skip_or_fail(name, reason)


def at(url: str, place: Server | str) -> str:
    """Return the URL of the same database on another server, or at another host and port."""
    netloc = place if isinstance(place, str) else urlsplit(place.url).netloc
    return urlsplit(url)._replace(netloc=netloc).geturl()


def can_connect(url: str) -> bool:
    """Whether the database of this URL is there."""
    parts = urlsplit(url)
    with contextlib.suppress(psycopg2.Error, pymysql.Error):
        if parts.scheme.startswith("postgresql"):
            psycopg2.connect(url).close()
        else:
            name = parts.path.removeprefix("/")
            pymysql.connect(host=parts.hostname, port=parts.port or 0, user="root", database=name).close()
        return True
    return False


class GaleraNode(MySQLServer):
    """A node of a Galera cluster; it is ready when it has all that the others have."""

    readiness = (
        "SELECT 1 FROM information_schema.global_status "
        "WHERE variable_name = 'wsrep_local_state_comment' AND variable_value = 'Synced'"
    )


@contextlib.contextmanager
def cut_off(node: Server) -> Iterator[None]:
    """A node of Galera hears nothing of the others in the block, nor they of it; its clients still reach it."""
    node.ask("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")
    try:
        wait_until(lambda: not node.ask(GaleraNode.readiness), "the node knows that it is alone")
        yield
    finally:
        node.ask("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'")
        wait_until(lambda: node.ask(GaleraNode.readiness), "the node is back in its cluster")


@contextlib.contextmanager
def galera(*options: str) -> Iterator[Cluster]:
    """Three nodes of MariaDB Galera, started with these options too."""
    programs = throwaway.of_machine("mysql")
    server = programs.find("mariadbd", "mariadb-server")
    provider = programs.find_library("galera/libgalera_smm.so", "galera-4")
    for program in ("rsync", "lsof"):
        programs.find(program, program)
    ports = [[free_port() for _ in range(4)] for _ in range(3)]
    group = ",".join(f"127.0.0.1:{port}" for _, port, _, _ in ports)
    nodes = []
    with contextlib.ExitStack() as stack:
        for number, (port, listen, transfer, snapshot) in enumerate(ports):
            folder, inside = programs.new_folder("galera")
            provider_options = {
                "gmcast.listen_addr": f"tcp://127.0.0.1:{listen}",
                "ist.recv_addr": f"127.0.0.1:{transfer}",
                "gcache.size": "64M",
            }
            settings = {
                "binlog-format": "ROW",
                "innodb-autoinc-lock-mode": "2",
                "wsrep-on": "ON",
                "wsrep-provider": provider,
                "wsrep-cluster-name": "engagement",
                "wsrep-cluster-address": f"gcomm://{group}",
                "wsrep-node-name": f"node{number}",
                "wsrep-node-address": f"127.0.0.1:{listen}",
                "wsrep-node-incoming-address": f"127.0.0.1:{port}",
                "wsrep-sst-method": "rsync",
                "wsrep-sst-receive-address": f"127.0.0.1:{snapshot}",
                "wsrep-provider-options": ";".join(f"{name}={value}" for name, value in provider_options.items()),
                "tmpdir": str(inside),
                "datadir": f"{inside}/data",
            }
            named = [f"--{name}={value}" for name, value in settings.items()]
            process = Process(
                folder,
                throwaway.mariadb_initialize(programs, inside),
                programs.command(signal.SIGTERM, server, *throwaway.mysql_options(port), *named, *options),
                signal.SIGTERM,
            )
            node = GaleraNode("mariadb", f"mariadb://root@127.0.0.1:{port}", process)
            stack.callback(node.close)
            nodes.append(node)
            if number == 0:
                process.start("--wsrep-new-cluster")
            node.start()
        yield Cluster(nodes)


class GroupMember(MySQLServer):
    """A member of a group; started again it joins what the others are."""

    is_online = (
        "SELECT 1 FROM performance_schema.replication_group_members "
        "WHERE member_id = @@server_uuid AND member_state = 'ONLINE'"
    )

    def start(self) -> None:
        super().start()
        if self.ask(self.is_online):
            return
        self.ask("START GROUP_REPLICATION")
        wait_until(lambda: self.ask(self.is_online), f"{self.url} is a member of its group")

    def found_group(self) -> None:
        """Start the group with this member as its first."""
        super().start()
        self.forget_own_transactions()
        self.ask("SET GLOBAL group_replication_bootstrap_group = ON")
        self.ask("START GROUP_REPLICATION")
        self.ask("SET GLOBAL group_replication_bootstrap_group = OFF")

    def join_group(self) -> None:
        """Join the group for the first time."""
        super().start()
        self.forget_own_transactions()
        self.start()

    def forget_own_transactions(self) -> None:
        self.ask("CHANGE REPLICATION SOURCE TO SOURCE_USER = 'root' FOR CHANNEL 'group_replication_recovery'")
        self.ask("RESET BINARY LOGS AND GTIDS")


@contextlib.contextmanager
def group_replication(*options: str) -> Iterator[Cluster]:
    """Three members of a MySQL group, started with these options too; the first is the primary."""
    programs = throwaway.of_tree("mysql")
    server = programs.find("mysqld", "mysql-server")
    ports = [(free_port(), free_port()) for _ in range(3)]
    seeds = ",".join(f"127.0.0.1:{listen}" for _, listen in ports)
    members: list[GroupMember] = []
    with contextlib.ExitStack() as stack:
        for number, (port, listen) in enumerate(ports):
            folder, inside = programs.new_folder("group")
            settings = {
                "log-bin": "binlog",
                "binlog-format": "ROW",
                "sync-binlog": "0",
                "gtid-mode": "ON",
                "enforce-gtid-consistency": "ON",
                "server-id": str(number + 1),
                "report-host": "127.0.0.1",
                "report-port": str(port),
                "performance-schema-max-table-instances": "200",
                "plugin-load-add": "group_replication.so",
                "loose-group-replication-group-name": _GROUP,
                "loose-group-replication-start-on-boot": "OFF",
                "loose-group-replication-local-address": f"127.0.0.1:{listen}",
                "loose-group-replication-group-seeds": seeds,
                "loose-group-replication-recovery-get-public-key": "ON",
                "loose-group-replication-member-weight": str(90 - 10 * number),
            }
            all_options = [
                *throwaway.mysql_options(port),
                *throwaway.mysql_only_options(inside),
                *(f"--{name}={value}" for name, value in settings.items()),
                *options,
            ]
            process = Process(
                folder,
                throwaway.mysql_initialize(programs, folder, inside),
                programs.command(signal.SIGTERM, server, *all_options),
                signal.SIGTERM,
            )
            member = GroupMember("mysql", f"mysql://root@127.0.0.1:{port}", process)
            stack.callback(member.close)
            members.append(member)
            if number == 0:
                member.found_group()
            else:
                member.join_group()
        yield Cluster(members)


@contextlib.contextmanager
def replicated(family: Literal["mysql", "mariadb"]) -> Iterator[Cluster]:
    """A MySQL or MariaDB server and a replica that follows it by GTID."""
    programs = throwaway.of_tree("mysql") if family == "mysql" else throwaway.of_machine("mysql")
    nodes = []
    with contextlib.ExitStack() as stack:
        for number in (1, 2):
            folder, inside = programs.new_folder("replicated")
            port = free_port()
            options = [*throwaway.mysql_options(port), "--log-bin=binlog", "--sync-binlog=0", f"--server-id={number}"]
            if family == "mysql":
                initialize = throwaway.mysql_initialize(programs, folder, inside)
                program = programs.find("mysqld", "mysql-server")
                options += [*throwaway.mysql_only_options(inside), "--gtid-mode=ON", "--enforce-gtid-consistency=ON"]
            else:
                initialize = throwaway.mariadb_initialize(programs, inside)
                program = programs.find("mariadbd", "mariadb-server")
                options += [f"--tmpdir={inside}", f"--datadir={inside}/data"]
            run = programs.command(signal.SIGTERM, program, *options)
            node = MySQLServer(
                family, f"{family}://root@127.0.0.1:{port}", Process(folder, initialize, run, signal.SIGTERM)
            )
            stack.callback(node.close)
            node.start()
            nodes.append(node)
        primary, replica = nodes
        port = urlsplit(primary.url).port or 0
        if family == "mysql":
            replica.ask(
                f"CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'root', "
                "SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
            )
            replica.ask("START REPLICA")
        else:
            replica.ask(
                f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'root', "
                "MASTER_USE_GTID = slave_pos"
            )
            replica.ask("START SLAVE")
        replica.ask("SET GLOBAL read_only = ON")
        yield Cluster(nodes)


@contextlib.contextmanager
def streaming() -> Iterator[Cluster]:
    """A PostgreSQL primary, a synchronous standby and an asynchronous one."""
    programs = throwaway.of_machine("postgres")
    with contextlib.ExitStack() as stack:
        url, process = throwaway.postgres(unstable=False)
        primary = PostgresServer("postgres", url, process)
        stack.callback(primary.close)
        primary.start()
        standbys = [_standby(programs, url, name) for name in ("synchronous", "asynchronous")]
        for standby in standbys:
            stack.callback(standby.close)
            standby.start()
        # Only now, because a standby would copy it, and wait for itself once it is the primary.
        primary.ask("ALTER SYSTEM SET synchronous_standby_names = 'synchronous'")
        primary.ask("SELECT pg_reload_conf()")
        is_there = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until(lambda: primary.ask(is_there), "the standby is synchronous")
        yield Cluster([primary, *standbys])


def _standby(programs: Programs, primary: str, name: str) -> PostgresServer:
    folder, inside = programs.new_folder("postgres")
    port = free_port()
    copy = [
        *("--pgdata", f"{inside}/data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        *("--dbname", f"{primary}/postgres?application_name={name}"),
    ]
    process = Process(
        folder,
        programs.command(signal.SIGTERM, programs.find("pg_basebackup", "postgresql"), *copy),
        programs.command(
            signal.SIGINT,
            programs.find("postgres", "postgresql"),
            *throwaway.postgres_options(port),
            *("-D", f"{inside}/data"),
        ),
        signal.SIGINT,
    )
    return PostgresServer("postgres", f"postgresql://postgres@127.0.0.1:{port}", process)


@contextlib.contextmanager
def logical() -> Iterator[Cluster]:
    """Two PostgreSQL servers, of which the second can subscribe to what the first publishes."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for _ in range(2):
            url, process = throwaway.postgres(unstable=False)
            node = PostgresServer("postgres", url, process)
            stack.callback(node.close)
            node.start()
            node.ask("ALTER SYSTEM SET wal_level = logical")
            node.stop()
            node.start()
            nodes.append(node)
        yield Cluster(nodes)


def promote(standby: Server) -> None:
    """Make the standby a primary, which waits for no other standby."""
    standby.ask("SELECT pg_promote()")
    wait_until(lambda: standby.ask("SELECT 1 WHERE NOT pg_is_in_recovery()"), "the standby is promoted")


@contextlib.contextmanager
def pgbouncer(server: Server, mode: Literal["session", "transaction"]) -> Iterator[str]:
    """Yield user, host and port of a PgBouncer before the server."""
    programs = throwaway.of_machine("postgres")
    program = programs.find("pgbouncer", "pgbouncer")
    port, target = free_port(), urlsplit(server.url)
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "default_pool_size": str(POOL_SIZE),
        "max_client_conn": "200",
        "ignore_startup_parameters": "extra_float_digits",
    }
    lines = [
        *("[databases]", f"* = host=127.0.0.1 port={target.port} user=postgres", "[pgbouncer]"),
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    with _in_front(programs, "pgbouncer.ini", lines, program, [], port):
        yield f"postgres@127.0.0.1:{port}"


@contextlib.contextmanager
def haproxy(nodes: Sequence[Server], kind: Literal["PostgreSQL", "Group Replication", "Galera"]) -> Iterator[str]:
    """Yield user, host and port of an HAProxy as docs/clusters.md sets it up, with the check for this kind of server.

    It passes all connections to the first node that takes writes.
    """
    target = urlsplit(nodes[0].url)
    programs = throwaway.of_machine("postgres" if target.scheme == "postgresql" else "mysql")
    program = programs.find("haproxy", "haproxy")
    port = free_port()
    text = PAGE.read_text("utf-8")
    (check,) = re.findall(rf"```bash\n(#!/bin/sh\n# {kind}: .*?)```", text, re.DOTALL)
    (settings,) = re.findall(r"```cfg\n(.*?)```", text, re.DOTALL)
    folder, inside = programs.new_folder("check")
    try:
        script = folder / "takes-writes"
        script.write_text(check.replace("user=check", f"user={target.username}"))
        script.chmod(0o755)
        lines = [line for line in settings.splitlines() if not line.startswith("    server ")]
        lines += [
            f"    server node{number} 127.0.0.1:{urlsplit(node.url).port}{' backup' if number else ''}"
            for number, node in enumerate(nodes)
        ]
        written = "\n".join(lines)
        for shown, used in (("10.0.0.10:5432", f"127.0.0.1:{port}"), ("/etc/haproxy", str(inside))):
            assert shown in written
            written = written.replace(shown, used)
        with _in_front(programs, "haproxy.cfg", written.splitlines(), program, ["-f"], port):
            yield f"{target.username}@127.0.0.1:{port}"
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _in_front(
    programs: Programs, name: str, lines: Sequence[str], program: str, options: Sequence[str], port: int
) -> Iterator[None]:
    folder, inside = programs.new_folder("proxy")
    path: Path = folder / name
    path.write_text("\n".join(lines) + "\n")
    process = Process(
        folder, ["true"], programs.command(signal.SIGINT, program, *options, str(inside / name)), signal.SIGINT
    )
    try:
        process.start()
        wait_until(lambda: process.listens(port), f"{program} listens")
        yield
    finally:
        process.close()
