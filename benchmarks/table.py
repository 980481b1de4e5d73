"""Print what write_stall.py measured as the table of README.md: python benchmarks/table.py FILE..."""

import fileinput
import json

HEAD = "| server | rows | tool | run | load | quiet ms | up ms | down ms | up s | down s |"


def shown(window: dict[str, float], quiet: dict[str, float]) -> str:
    longest = window["longest_milliseconds"]
    words = f"**{longest:.0f}**" if longest > quiet["longest_milliseconds"] + 100 else f"{longest:.0f}"
    return words + (f" ({window['errors']} errors)" if window["errors"] else "")


def main() -> None:
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|")
    with fileinput.input() as lines:
        runs = [json.loads(line) for line in lines]
    for run in runs:
        quiet, up, down = run["quiet"], run["up"], run["down"]
        print(
            f"| {run['server'].split('-')[0]} | {run['rows']:,} | {run['tool']} | {run['run']} "
            f"| {run['load_average']:.1f} | {shown(quiet, quiet)} | {shown(up, quiet)} | {shown(down, quiet)} "
            f"| {up['duration_seconds']:.1f} | {down['duration_seconds']:.1f} |"
        )


if __name__ == "__main__":
    main()
