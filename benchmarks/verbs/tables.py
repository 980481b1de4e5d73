"""The tables of README.md in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.verbs import peers
from benchmarks.verbs.race import Race
from benchmarks.verbs.rounds import Figure


@dataclass(frozen=True)
class Measured:
    """All that was measured on one server."""

    server: str
    load_before: float
    load_after: float
    rounds: int
    figures: dict[str, dict[str, Figure]]
    races: dict[str, dict[str, Race]]
    missing: dict[str, str]


def summary(measured: Sequence[Measured], quantity: str) -> str:
    """Return ours as a ratio of the bare driver and of the best of the ORMs. ``quantity`` is wall or cpu."""
    head = ["item", *(f"{each.server}: of the driver / of the best peer" for each in measured)]
    titles = list(dict.fromkeys(title for each in measured for title in each.figures))
    return _table(
        head, ([title, *(_ratios(each.figures.get(title, {}), quantity) for each in measured)] for title in titles)
    )


def _ratios(figures: Mapping[str, Figure], quantity: str) -> str:
    values = {name: getattr(figure, quantity) for name, figure in figures.items()}
    ours, driver = values.pop(peers.OURS, None), values.pop(peers.DRIVER, None)
    if ours is None:
        return ""
    of_driver = f"{ours / driver:.2f}" if driver else "-"
    if not values:
        return of_driver
    best = min(values, key=values.__getitem__)
    return f"{of_driver} / {ours / values[best]:.2f} ({best})"


def details(measured: Measured) -> str:
    """Return milliseconds of wall and CPU per operation, and the turns, of each peer."""
    names = [name for name in peers.ALL if any(name in figures for figures in measured.figures.values())]
    return _table(
        ["item: wall ms / CPU ms (turns)", *names],
        ([title, *(_figure(figures.get(name)) for name in names)] for title, figures in measured.figures.items()),
    )


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    count = "" if figure.turns is None else f" ({figure.turns:.3g})"
    return f"{figure.wall:.2f} / {figure.cpu:.2f}{count}"


def races(measured: Sequence[Measured]) -> str:
    """Return the cycles a second of clients at the same time, and how many were lost."""
    names = list(dict.fromkeys(name for each in measured for name in each.races))
    titles = list(dict.fromkeys(title for each in measured for by_title in each.races.values() for title in by_title))
    return _table(
        ["cycles a second", *names],
        (
            [f"{each.server}, {title}", *(_race(each.races.get(name, {}).get(title)) for name in names)]
            for each in measured
            for title in titles
            if each.races
        ),
    )


def _race(race: Race | None) -> str:
    if race is None:
        return ""
    return f"{race.cycles_per_second:.0f}" + (f" ({race.errors} lost)" if race.errors else "")


def growth(server: str, found: Mapping[str, Mapping[int, float]]) -> str:
    """Return milliseconds by size, and the last as a ratio of the first."""
    sizes = list(next(iter(found.values())))
    return _table(
        [f"{server}: ms", *(f"{size:,}" for size in sizes), "ratio"],
        (
            [title, *(f"{times[size]:.2f}" for size in sizes), f"{times[sizes[-1]] / times[sizes[0]]:.2f}"]
            for title, times in found.items()
        ),
    )


def plans(found: Mapping[str, Mapping[str, str]]) -> str:
    """Return what each query reads, by server."""
    titles = list(dict.fromkeys(title for by_title in found.values() for title in by_title))
    return _table(
        ["rows examined / returned: indexes", *found],
        ([title, *(by_title.get(title, "") for by_title in found.values())] for title in titles),
    )


def _table(head: Sequence[str], body: Iterator[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
