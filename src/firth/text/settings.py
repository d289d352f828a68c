"""How inputs are read: one set of choices for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from firth.text.chunks import Chunking
from firth.text.extract import MAX_FILE
from firth.text.lines import MAX_LINE
from firth.text.tokenizer import Spans


@dataclass(frozen=True)
class Reading:
    """Choices that `read` takes.

    Attributes:
        columns: names that firth does not know -> names that it does, for instance {"frage": "query", "antwort":
            "answer"}; the columns of a table without a header are called "1", "2", …
        skip_bad: leave out records and files that cannot be used, and say so in `Domain.notes`, instead of stopping.
        chunking: how long the chunks of .txt .md .html .pdf .docx files are; records of tables are never cut.
        tokenizer: that of the model which will read the chunks; None counts words, about three for four of its tokens.
        max_line: bytes; a longer line is an error, since several copies of it must fit in memory.
        max_file: bytes; the same for a file that is read whole (.txt .md .html .pdf .docx .json).
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    skip_bad: bool = False
    chunking: Chunking = field(default_factory=Chunking)
    tokenizer: Spans | None = None
    max_line: int = MAX_LINE
    max_file: int = MAX_FILE
