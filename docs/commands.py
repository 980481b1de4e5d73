"""Print docs/commands.md: every command of `engagement-db` and its options, in the words of its help."""

import inspect
from collections.abc import Iterator

import click

from engagement_db.cli import main

HEAD = """# Commands

Every command and its options, in the words of `--help`. Made by `python docs/commands.py > docs/commands.md`; a test
fails when it is stale. [operating.md](operating.md) says when to use which.
"""


def page() -> str:
    group = click.Context(main, info_name="engagement-db")
    lines = [HEAD, *described(group)]
    for name, command in sorted(main.commands.items()):
        lines += described(click.Context(command, parent=group, info_name=name))
    return "\n".join(lines).rstrip() + "\n"


def described(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## {context.command_path}\n"
    yield f"`{' '.join([context.command_path, *command.collect_usage_pieces(context)])}`\n"
    yield f"{inspect.cleandoc(command.help)}\n"
    yield "| option | |"
    yield "|---|---|"
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            option, meaning = (text.replace("|", r"\|") for text in record)
            yield f"| `{option}` | {meaning} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
