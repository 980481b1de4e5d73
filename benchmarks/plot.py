"""Draw what write_stall.py --every-write measured: python benchmarks/plot.py FILE... --output docs/images/writes.svg

One panel for each server and tool: each dot is a write, where it was sent and how long it took, while revision 003
is applied. The first run of each tool on each server is shown. Needs matplotlib. The dots are an image; the file
would be too large otherwise.
"""

import argparse
import fileinput
import json
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "engagement_db", "font.size": 10, "axes.spines.top": False})

from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

SERVERS = {"postgres": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MySQL"}
TOOLS = {"engagement_db": "engagement_db", "alembic": "Alembic", "sequelize": "Sequelize"}
OURS, THEIRS, QUIET = "#0b7a4b", "#b3261e", "#8a8f98"
LONG_MILLISECONDS = 100.0
BEFORE_SECONDS = 2.0
AFTER_SECONDS = 3.0
TICKS = {1: "1 ms", 10: "10 ms", 100: "100 ms", 1_000: "1 s", 10_000: "10 s", 100_000: "100 s"}


def words(milliseconds: float) -> str:
    if milliseconds < 950:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.{0 if milliseconds >= 9950 else 1}f} s"


def draw(axes: Axes, up: dict[str, Any], width_seconds: float, colour: str) -> None:
    end = up["duration_seconds"]
    writes = [(sent, took) for sent, took in up["every_write"] if -BEFORE_SECONDS <= sent <= width_seconds]
    axes.axvspan(0, end, color=colour, alpha=0.12, linewidth=0)
    inside = [(sent, took) for sent, took in writes if 0 <= sent <= end and took < LONG_MILLISECONDS]
    outside = [(sent, took) for sent, took in writes if not 0 <= sent <= end and took < LONG_MILLISECONDS]
    for dots, shade in ((outside, QUIET), (inside, colour)):
        axes.plot(*zip(*dots, strict=True), ".", color=shade, markersize=2.4, markeredgewidth=0, rasterized=True)
    # What waits is a line as long as it waits.
    for sent, took in writes:
        if took >= LONG_MILLISECONDS:
            axes.plot([sent, sent + took / 1000], [took, took], color=colour, linewidth=2.5, solid_capstyle="butt")
            axes.plot([sent + took / 1000], [took], ">", color=colour, markersize=5, markeredgewidth=0)
    inside_window = [write for write in up["every_write"] if write[0] + write[1] / 1000 >= 0]
    sent, longest = max(inside_window, key=lambda write: write[1])
    axes.annotate(
        f"slowest write {words(up['longest_milliseconds'])}",
        (min(max(sent + longest / 2000, width_seconds * 0.22), width_seconds * 0.7), longest),
        (0, 7),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=colour,
        fontweight="bold",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    runs: dict[tuple[str, str], dict[str, Any]] = {}
    with fileinput.input(options.files) as lines:
        for line in lines:
            run = json.loads(line)
            runs.setdefault((run["server"].split()[0], run["tool"]), run)
    names = [name for name in SERVERS if any(server == name for server, _ in runs)]
    figure, grid = pyplot.subplots(
        len(TOOLS), len(names), figsize=(11, 7), sharex="col", sharey=True, squeeze=False, layout="constrained"
    )
    for column, name in enumerate(names):
        beside = [runs[name, tool]["up"] for tool in TOOLS]
        width_seconds = max(up["duration_seconds"] for up in beside) + AFTER_SECONDS
        for row, (tool, title) in enumerate(TOOLS.items()):
            axes = grid[row][column]
            colour = OURS if row == 0 else THEIRS
            draw(axes, runs[name, tool]["up"], width_seconds, colour)
            axes.set_yscale("log")
            axes.set_ylim(0.1, 400_000)
            axes.set_yticks(list(TICKS), list(TICKS.values()))
            axes.minorticks_off()
            axes.set_xlim(-BEFORE_SECONDS, width_seconds)
            axes.grid(axis="y", color="#e3e5e8", linewidth=0.7)
            axes.set_axisbelow(True)
            axes.spines["right"].set_visible(False)
            if row == 0:
                version = runs[name, tool]["server"].split()[1].split("-")[0]
                axes.set_title(f"{SERVERS[name]} {version}", fontweight="bold", pad=12)
            if column == 0:
                axes.set_ylabel(title, fontweight="bold", color=colour, fontsize=13)
        grid[-1][column].set_xlabel("seconds since the migration began")
    ours = max(runs[name, "engagement_db"]["up"]["longest_milliseconds"] for name in names)
    theirs = [runs[name, tool]["up"]["longest_milliseconds"] for name in names for tool in ("alembic", "sequelize")]
    rows = next(iter(runs.values()))["rows"]
    figure.suptitle(
        f"{rows:,} rows get a new column: with engagement_db no write takes longer than {words(ours)}.\n"
        f"Alembic and Sequelize make writes wait for {words(min(theirs))} to {words(max(theirs))}.",
        fontsize=14,
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    figure.supxlabel(
        "A dot is a write: when it was sent, and how long it took (log scale). An arrow is a write that waits. "
        "Shaded: the migration runs: a column, its index, its foreign key.",
        fontsize=9,
        color="#555b64",
    )
    figure.savefig(options.output, metadata={"Date": None}, dpi=200)


if __name__ == "__main__":
    main()
