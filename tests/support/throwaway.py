"""Throwaway servers: started from the programs of this machine, or from those of a Debian tree.

Only Debian unstable has MySQL proper, and the newest PostgreSQL and MariaDB. `tests/run` makes a minimal tree of it
for each server family, and the server runs inside by chroot.
"""

import contextlib
import functools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STOP_TIMEOUT_SECONDS = 60

# Several processes of tests may share one server, each with races of eight and more.
MOST_CONNECTIONS = 500

# Several times what the servers of one run take.
LEAST_MEMORY = 8 * 2**30


class Unavailable(Exception):
    """This machine cannot have the server; the message says why and what to do about it."""


class InTreeOnly(Unavailable):
    """The server is not part of the distribution, so a machine may be without it."""


class Process:
    """A server process that was started here. A restart keeps its folder, its data and its port."""

    def __init__(self, folder: Path, initialize: list[str], run: list[str], stop_signal: signal.Signals) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._initialize = initialize
        self._run = run
        self._stop_signal = stop_signal
        self._initialized = False
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def start(self, *options: str) -> None:
        """Start it, this time with these options too."""
        with open(self.log, "ab") as log:
            if not self._initialized:
                made = subprocess.run(self._initialize, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                if made.returncode != 0:
                    raise RuntimeError(f"{self._initialize[-1]} could not be initialized:\n{self.last_words}")
                self._initialized = True
            # A session of its own: Ctrl-C reaches the tests, and they stop the server in their own time.
            self._popen = subprocess.Popen(
                [*self._run, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        """End it in good order."""
        if self._popen is None or not self.is_running:
            return
        self._popen.send_signal(self._stop_signal)
        try:
            self._popen.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        """End it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """It keeps its connections and does nothing in the block."""
        assert self._popen is not None
        self._popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._popen.send_signal(signal.SIGCONT)

    def listens(self, port: int) -> bool:
        """Whether it takes connections at the port; raises RuntimeError if it has ended."""
        if not self.is_running:
            raise RuntimeError(f"{self._run[-1]} has ended:\n{self.last_words}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False

    def kill(self) -> None:
        if self._popen is None or not self.is_running:
            return
        # A stopped parent starts no new child while the children are counted.
        self._popen.send_signal(signal.SIGSTOP)
        children = _children(self._popen.pid)
        self._popen.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._popen.wait()
        while any(_is_alive(child) for child in children):
            time.sleep(0.01)


@dataclass(frozen=True)
class Programs:
    """A folder tree with a server's programs in it, and the user who runs them, since servers refuse root."""

    root: Path
    user: tuple[int, int]

    def find(self, pattern: str, package: str) -> str:
        """Return the path, as seen from inside, of the newest program that matches the pattern."""
        found = [path for folder in _PROGRAM_FOLDERS for path in self.root.glob(f"{folder}/{pattern}")]
        if found:
            newest = max(found, key=lambda path: [int(part) for part in path.parts if part.isdigit()])
            return f"/{newest.relative_to(self.root)}"
        elsewhere = shutil.which(pattern) if self.root == _MACHINE else None
        if elsewhere is None:
            raise Unavailable(f"{pattern} is not installed: run tests/run, or install Debian's package {package}")
        return str(Path(elsewhere).resolve())

    def find_library(self, pattern: str, package: str) -> str:
        """Return the path, as seen from inside, of a library."""
        for path in self.root.glob(f"usr/lib/{pattern}"):
            return f"/{path.relative_to(self.root)}"
        raise Unavailable(f"{pattern} is not installed: run tests/run, or install Debian's package {package}")

    def command(self, at_our_end: signal.Signals, program: str, *arguments: str) -> list[str]:
        """Return a command that runs as the user, inside the tree, and gets the signal when the tests end."""
        command = [*self._enter(), "setpriv", "--pdeathsig", at_our_end.name.removeprefix("SIG")]
        if os.geteuid() == 0:
            uid, gid = self.user
            command += [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        return [*command, program, *arguments]

    def new_folder(self, name: str) -> tuple[Path, Path]:
        """Make a folder of the user, and return its path as seen from outside and from inside."""
        parent = roomy_folder() if self.root == _MACHINE or _is_memory_for_trees() else self.root / "srv"
        _remove_abandoned_folders(parent)
        folder = Path(tempfile.mkdtemp(prefix=f"engagement-{name}-{os.getpid()}-", dir=parent))
        if os.geteuid() == 0:
            os.chown(folder, *self.user)
        return folder, folder if self.root == _MACHINE else Path("/srv") / folder.name

    def _enter(self) -> list[str]:
        if self.root == _MACHINE:
            return []
        if not _is_memory_for_trees():
            return ["/usr/sbin/chroot", str(self.root)]
        # The server alone sees the mount, and takes it along when it ends.
        script = f'mount --bind {_MEMORY} "$0/srv" && exec /usr/sbin/chroot "$0" "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self.root)]


def roomy_folder() -> Path:
    """Memory where there is plenty of it: each test makes and drops hundreds of files."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > LEAST_MEMORY:
        return _MEMORY
    return Path(tempfile.gettempdir())


@functools.cache
def _is_memory_for_trees() -> bool:
    """Whether servers in a tree may have their folders in memory too."""
    if roomy_folder() != _MEMORY:
        return False
    mount = ["unshare", "--mount", "mount", "--bind", _MEMORY, "/srv"]
    return subprocess.run(mount, check=False, capture_output=True).returncode == 0


_MEMORY = Path("/dev/shm")
_MACHINE = Path("/")
_PROGRAM_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin")


def of_machine(user: str) -> Programs:
    """The programs that are installed here, run by the user that their package has made."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if os.geteuid() == 0:
            raise Unavailable(
                f"the server may not run as root, and there is no user {user} to run it: run tests/run"
            ) from None
        return Programs(_MACHINE, (os.geteuid(), os.getegid()))
    return Programs(_MACHINE, (entry.pw_uid, entry.pw_gid))


def of_tree(name: str) -> Programs:
    """The programs of the Debian tree of this name, run by Debian's nobody, who owns nothing in it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    tree = Path(os.environ.get("TEST_TREES") or Path(cache) / "engagement_db", name).resolve()
    variable = f"TEST_{name.upper()}_URL"
    if os.geteuid() != 0:
        raise InTreeOnly(f"it runs in a chroot, which only root may enter: run as root, or set {variable}")
    if not tree.is_dir():
        raise InTreeOnly(f"there is no tree {tree}: tests/run makes it; or set {variable}")
    return Programs(tree, (65534, 65534))


# The throwaway servers are in a time zone that nobody expects: a session that does not state its own is found out.
# They skip the waits for the disk, which matter when a machine stops, not when a server is killed.


def postgres(unstable: bool) -> tuple[str, Process]:
    programs = of_tree("unstable") if unstable else of_machine("postgres")
    initdb, server = programs.find("initdb", "postgresql"), programs.find("postgres", "postgresql")
    folder, inside = programs.new_folder("postgres")
    port = free_port()
    initialize = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    process = Process(
        folder,
        programs.command(signal.SIGINT, initdb, *initialize, "-D", f"{inside}/data"),
        programs.command(signal.SIGINT, server, *postgres_options(port), "-D", f"{inside}/data"),
        signal.SIGINT,
    )
    return f"postgresql://postgres@127.0.0.1:{port}", process


def postgres_options(port: int) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",
        "fsync": "off",
        "max_connections": str(MOST_CONNECTIONS),
        "timezone": "Asia/Kolkata",
    }
    return ["-p", str(port), *(f"--{name}={value}" for name, value in settings.items())]


def mariadb(unstable: bool) -> tuple[str, Process]:
    programs = of_tree("unstable") if unstable else of_machine("mysql")
    server = programs.find("mariadbd", "mariadb-server")
    folder, inside = programs.new_folder("mariadb")
    port = free_port()
    # A tmpdir of its own: a server that starts sweeps the one it has, whoever else's files lie there.
    data = [f"--tmpdir={inside}", f"--datadir={inside}/data"]
    run = programs.command(signal.SIGTERM, server, *mysql_options(port), "--debug-no-sync", *data)
    return f"mariadb://root@127.0.0.1:{port}", Process(
        folder, mariadb_initialize(programs, inside), run, signal.SIGTERM
    )


def mariadb_initialize(programs: Programs, inside: Path) -> list[str]:
    return programs.command(
        signal.SIGTERM,
        programs.find("mariadb-install-db", "mariadb-server"),
        "--no-defaults",
        f"--tmpdir={inside}",
        "--auth-root-authentication-method=normal",
        "--skip-name-resolve",
        "--skip-test-db",
        f"--datadir={inside}/data",
    )


def mysql() -> tuple[str, Process]:
    programs = of_tree("mysql")
    folder, inside = programs.new_folder("mysql")
    port = free_port()
    options = [*mysql_options(port), "--innodb-flush-method=nosync", *mysql_only_options(inside)]
    run = programs.command(signal.SIGTERM, programs.find("mysqld", "mysql-server"), *options)
    return f"mysql://root@127.0.0.1:{port}", Process(
        folder, mysql_initialize(programs, folder, inside), run, signal.SIGTERM
    )


def mysql_initialize(programs: Programs, folder: Path, inside: Path) -> list[str]:
    root = folder / "root.sql"
    root.write_text("CREATE USER root@'127.0.0.1'; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n")
    os.chown(root, *programs.user)
    options = ["--no-defaults", "--initialize-insecure", f"--init-file={inside / root.name}"]
    server = programs.find("mysqld", "mysql-server")
    return programs.command(signal.SIGTERM, server, *options, f"--datadir={inside}/data")


def mysql_only_options(inside: Path) -> list[str]:
    return ["--mysqlx=OFF", "--secure-file-priv=NULL", f"--datadir={inside}/data"]


def mysql_options(port: int) -> list[str]:
    return [
        "--no-defaults",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--socket=socket",
        "--pid-file=pid",
        "--skip-log-bin",
        f"--max-connections={MOST_CONNECTIONS}",
        # The machine has few slots for asynchronous reads and writes, and every server takes hundreds.
        "--innodb-use-native-aio=0",
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-buffer-pool-size=64M",
        "--default-time-zone=+05:30",
    ]


def _remove_abandoned_folders(parent: Path) -> None:
    for folder in parent.glob("engagement-*-*-*"):
        owner = folder.name.split("-")[2]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port below those that outgoing connections take, which could hold it while its server is down."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _children(parent: int) -> list[int]:
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _state(entry)[1] == str(parent)
    ]


def _is_alive(process: int) -> bool:
    return _state(Path("/proc") / str(process))[0] not in ("", "Z", "X")


def _state(process: Path) -> tuple[str, str]:
    """The one-letter state and the parent of a process; empty if it is gone."""
    try:
        state, parent, *_rest = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "", ""
    return state, parent
