"""Print docs/data-dictionary.md: every column of every table, as the models declare it."""

import inspect

import peewee

import engagement_db as edb
from engagement_db import platform, servers, tables

HEAD = """# Data dictionary

Every column of every table. Made by `python docs/data_dictionary.py > docs/data-dictionary.md` from the models, the
`help_text` of their fields and the types that each server is told; a test fails when it is stale.

- In Python a column is in snake_case. The column `userId` is the row `post.user` and the id `post.user_id`.
- `users`, `projects` and `gigs` are the platform's, may have other columns, and are shown as the stub tables are.
- Where the platform's ids have 64 bits or are unsigned, so do the columns that hold them.
- An enum is a type of its own on PostgreSQL, and text with a check on SQLite. JSON is checked on SQLite and MariaDB.
- *Written by* says who gives the column its value: *insert* with the row, then the verbs that are named, or else any
  update. A column that only verbs change raises `Protected` in any other update.
"""


def page() -> str:
    lines = [HEAD]
    for model in edb.MODELS:
        lines += [f"## {model._meta.table_name}\n", f"`{model.__name__}`: {described(model)}\n"]
        lines += ["| column | type | nullable | default | written by | meaning |"]
        lines += ["|---|---|---|---|---|---|"]
        declared = model.declared()
        for field in model._meta.sorted_fields:
            column = declared.column(field.column_name)
            cells = [f"`{column.name}`", types(declared.name, column)]
            cells += ["yes" if column.null else "no", default(column), writer(model, field), meaning(declared, field)]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def described(model: type[peewee.Model]) -> str:
    return inspect.getdoc(model).partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def types(table: str, column: tables.Column) -> str:
    """The column's type on each server, once where all agree. The labels of an enum are left to its meaning."""
    found: dict[str, list[str]] = {}
    for server in servers.ALL:
        spelled = server.type_sql(table, column).replace('"', "")
        if isinstance(column.type, tables.Enum):
            spelled = spelled.partition("(")[0]
        found.setdefault(f"`{spelled}`", []).append(server.display_name)
    if len(found) == 1:
        return next(iter(found))
    return "<br>".join(f"{', '.join(names)}: {spelled}" for spelled, names in found.items())


def default(column: tables.Column) -> str:
    return f"`{column.default}`" if isinstance(column.default, str) else str(column.default or "")


def writer(model: type[peewee.Model], field: peewee.Field) -> str:
    verbs = model._meta.verb_columns.get(field.name)
    edit = inspect.signature(model.edit).parameters if hasattr(model, "edit") else ()
    if field.name == "id":
        return "the server"
    if model.__module__ == platform.__name__:
        return "the platform"
    if model._meta.append_only or verbs == "":
        return "insert"
    if field.name == "updated_at":
        return "every write"
    if verbs:
        return f"insert; {verbs}"
    return "insert; edit, any update" if field.name in edit else "insert; any update"


def meaning(declared: tables.Table, field: peewee.Field) -> str:
    key, kind = declared.foreign_key(field.column_name), field.column_type
    target = f" Refers to `{key.parent}`." if key else ""
    labels = f" One of {', '.join(f'`{label}`' for label in kind.labels)}." if isinstance(kind, tables.Enum) else ""
    return field.help_text + target + labels


if __name__ == "__main__":
    print(page(), end="")
