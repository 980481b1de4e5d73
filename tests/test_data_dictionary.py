"""docs/data-dictionary.md says what each column is, as the models and the servers have it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import engagement_db as edb

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "data-dictionary.md").read_text("utf-8")


def rows() -> dict[tuple[str, str], list[str]]:
    """The cells of each row, by table and column."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        for row in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE):
            column, *cells = row.split(" | ")
            found[section.partition("\n")[0], column.strip("`")] = cells
    return found


def test_the_page_shows_the_columns_of_the_contract():
    made = subprocess.run([sys.executable, DOCS / "data_dictionary.py"], capture_output=True, text=True, check=True)
    assert made.stdout == PAGE, "run: python docs/data_dictionary.py > docs/data-dictionary.md"


@pytest.mark.parametrize("model", edb.MODELS, ids=lambda model: model.__name__)
def test_every_column_of_the_contract_has_a_sentence_of_its_own(model):
    for field in model._meta.sorted_fields:
        assert re.fullmatch(r"[A-Z][^.]*( [\w']+)+\.", field.help_text or ""), field


def test_what_only_verbs_change_is_refused_to_others_as_the_page_says_of_the_contract():
    for model in edb.MODELS:
        for field in model._meta.sorted_fields[1:]:
            written_by = rows()[model._meta.table_name, field.column_name][3]
            try:
                model.update({field: None})
                is_refused = False
            except edb.Protected:
                is_refused = True
            only_verbs = written_by == "insert" or re.fullmatch("insert; (?!.*any update).*", written_by)
            assert is_refused is bool(only_verbs), field
