"""Diagrams of tables and statuses as text, made from what the models and the verbs themselves use."""

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from engagement_db.errors import ConfigurationError
from engagement_db.tables import Table
from engagement_db.trust.transitions import ACCOUNT_TRANSITIONS, STAGES, TRANSITIONS
from engagement_db.trust.words import AccountStatus, DisputeStage, TransactionStatus


class Arrow(NamedTuple):
    """From one box to another, with what leads there."""

    source: str
    target: str
    label: str


class Relation(NamedTuple):
    """A foreign key."""

    parent: str
    child: str
    column: str
    is_nullable: bool


def relations(tables: Iterable[Table]) -> Iterator[Relation]:
    """Yield the foreign keys of these tables."""
    for table in tables:
        nullable = {column.name for column in table.columns if column.null}
        for key in table.foreign_keys:
            yield Relation(key.parent, table.name, key.column, key.column in nullable)


def escrow_moves() -> list[Arrow]:
    """Return the transitions of an escrow transaction; a withdrawn case leads back to the status before it."""
    before = TRANSITIONS["dispute"].sources
    return _joined(
        Arrow(source, target, verb)
        for verb, move in TRANSITIONS.items()
        for source in move.sources
        for target in (before if move.target is None else (move.target,))
    )


def account_moves() -> list[Arrow]:
    """Return the transitions of an escrow account."""
    verbs = {AccountStatus.ACTIVE: "activate", AccountStatus.SUSPENDED: "suspend", AccountStatus.CLOSED: "close"}
    by_verb = [
        Arrow(source, target, verbs[target]) for target, sources in ACCOUNT_TRANSITIONS.items() for source in sources
    ]
    return _joined([*by_verb, Arrow(AccountStatus.PENDING, AccountStatus.ACTIVE, "the first money")])


def case_moves() -> list[Arrow]:
    """Return the stages of a dispute case: any later one may be next."""
    ends = {DisputeStage.RESOLVED: "resolve or withdraw"}
    return [
        Arrow(source, target, ends.get(target, "advance"))
        for place, source in enumerate(STAGES)
        for target in STAGES[place + 1 :]
    ]


MOVES: Final[Mapping[str, tuple[str, Callable[[], list[Arrow]]]]] = {
    "escrow": (TransactionStatus.INITIATED, escrow_moves),
    "account": (AccountStatus.PENDING, account_moves),
    "dispute": (DisputeStage.INTAKE, case_moves),
}
NAMES: Final = ("tables", *MOVES)


def draw(name: str, language: str, tables: Sequence[Table]) -> str:
    """Return the diagram of this name (one of NAMES) in mermaid, dot or svg.

    Raises ConfigurationError if Graphviz, which makes the SVG, is not installed.
    """
    if language == "svg":
        return _in_svg(draw(name, "dot", tables))
    if name == "tables":
        lines = _tables_in_mermaid(tables) if language == "mermaid" else _tables_in_dot(tables)
    else:
        first, moves = MOVES[name]
        lines = _moves_in_mermaid(first, moves()) if language == "mermaid" else _moves_in_dot(moves())
    return "\n".join(lines)


def _joined(arrows: Iterable[Arrow]) -> list[Arrow]:
    """Return one arrow for each pair of boxes, with all of its labels."""
    labels: dict[tuple[str, str], list[str]] = {}
    for source, target, label in arrows:
        labels.setdefault((str(source), str(target)), []).append(label)
    return [Arrow(source, target, ", ".join(found)) for (source, target), found in labels.items()]


def _tables_in_mermaid(tables: Iterable[Table]) -> Iterator[str]:
    yield "erDiagram"
    yield "    direction LR"
    for parent, child, column, is_nullable in relations(tables):
        yield f"    {parent} {'|o' if is_nullable else '||'}--o{{ {child} : {column}"


def _tables_in_dot(tables: Iterable[Table]) -> Iterator[str]:
    yield "digraph {"
    yield "    rankdir=LR; node [shape=box]; edge [dir=both, arrowhead=crowodot];"
    for parent, child, column, is_nullable in relations(tables):
        yield f'    "{parent}" -> "{child}" [label="{column}", arrowtail={"teeodot" if is_nullable else "teetee"}];'
    yield "}"


def _moves_in_mermaid(first: str, arrows: Sequence[Arrow]) -> Iterator[str]:
    yield "stateDiagram-v2"
    yield f"    [*] --> {first}"
    for source, target, label in arrows:
        yield f"    {source} --> {target}: {label}"
    sources = {arrow.source for arrow in arrows}
    for last in dict.fromkeys(arrow.target for arrow in arrows if arrow.target not in sources):
        yield f"    {last} --> [*]"


def _moves_in_dot(arrows: Iterable[Arrow]) -> Iterator[str]:
    yield "digraph {"
    yield "    rankdir=LR; node [shape=ellipse];"
    for source, target, label in arrows:
        yield f'    "{source}" -> "{target}" [label="{label}"];'
    yield "}"


def _in_svg(dot: str) -> str:
    program = shutil.which("dot")
    if program is None:
        raise ConfigurationError(
            "The program dot of Graphviz, which makes the SVG, is not on PATH. Install Graphviz, or choose the format "
            "mermaid or dot."
        )
    return subprocess.run([program, "-Tsvg"], input=dot, capture_output=True, text=True, check=True).stdout.rstrip()
