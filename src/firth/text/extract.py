"""Files that people write, to plain text with its headings: .txt .md .html .docx .pdf.

Each gives one text and the sections in it, so that offsets mean something: for .txt and .md the text is what Python's
`open(path, encoding="utf-8-sig").read()` gives; for the others it is `extract(path).text`, the same on every call.
Headings become titles ("Guide > Install") and are left out of the sections' text, where they would be read twice.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firth.errors import DataError, MissingExtraError
from firth.text.chunks import Section
from firth.text.lines import LineError
from firth.text.markup import DEEPEST, depth, html_blocks

MAX_FILE = 64 << 20  # bytes; a larger one is held in memory several times over while it is cut
DOCX_BLOAT = 20  # times MAX_FILE that an unzipped .docx may have


@dataclass(frozen=True)
class Extracted:
    """A file's text.

    Attributes:
        text: everything, headings included.
        sections: the stretches below each heading, in order, none empty.
        pages: where each page of a .pdf begins in the text, ascending; empty for other files.
    """

    text: str
    sections: tuple[Section, ...]
    pages: tuple[int, ...] = ()

    def page(self, place: int) -> int | None:
        """The page, from 1, that a character stands on; None where there are no pages."""
        return sum(start <= place for start in self.pages) or None


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in a text: its level from 1, its characters with all markup, and its words."""

    level: int
    start: int
    end: int
    words: str


def extract(path: Path, *, limit: int = MAX_FILE) -> Extracted:
    """The text of one file, by its suffix.

    Raises:
        DataError: beyond `limit` bytes, damaged, locked by a password, not UTF-8; names the byte where it can.
        MissingExtraError: a package for this suffix is not installed.
    """
    size = path.stat().st_size
    if size > limit:
        message = f"{size:,} bytes, more than {limit:,}; split the file, or give its texts as JSONL, a document a line"
        raise DataError(message, path=path)
    return READERS[path.suffix.lower()](path, path.read_bytes())


def _plain(path: Path, raw: bytes) -> Extracted:
    text = _decoded(path, raw)
    return Extracted(text, _sections(text, [], ""))


def _markdown(path: Path, raw: bytes) -> Extracted:
    text = _decoded(path, raw)
    title, start = _front_matter(text)
    return Extracted(text, _sections(text, list(_markdown_headings(text, start)), title, start))


def _html(path: Path, raw: bytes) -> Extracted:
    parser = _needed("selectolax.lexbor", "selectolax", "documents", "reading .html files")
    page = _web_decoded(path, raw)
    if (nested := depth(page)) > DEEPEST:
        raise DataError(f"nests {nested:,} elements inside one another; is it a page?", path=path)
    tree = parser.LexborHTMLParser(page)
    title = " ".join(tree.css_first("title").text().split()) if tree.css_first("title") else ""
    return _joined(html_blocks(tree.root), title)


def _docx(path: Path, raw: bytes) -> Extracted:
    library = _needed("docx", "python-docx", "documents", "reading .docx files")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            unzipped = sum(entry.file_size for entry in archive.infolist())
        if unzipped > DOCX_BLOAT * MAX_FILE:
            raise DataError(f"unzips to {unzipped:,} bytes, which no text document does", path=path)
        document = library.Document(io.BytesIO(raw))
        return _joined(_docx_blocks(document), document.core_properties.title or "")
    except DataError:
        raise
    except Exception as error:  # the library lets zip, XML and key errors of damaged files through as they are
        raise _damaged(path, "a .docx file", error) from error


def _pdf(path: Path, raw: bytes) -> Extracted:
    library = _needed("pypdfium2", "pypdfium2", "documents", "reading .pdf files")
    pages: list[int] = []
    texts: list[str] = []
    place = 0
    try:
        with library.PdfDocument(raw) as document:
            title = document.get_metadata_value("Title") or ""
            for page in document:
                words = _clean(page.get_textpage().get_text_bounded())
                pages.append(place)
                texts.append(words)
                place += len(words) + 2  # the empty line between two pages
    except library.PdfiumError as error:
        raise _damaged(path, "a .pdf file that opens without a password", error) from error
    text = "\n\n".join(texts)
    return Extracted(text, _sections(text, [], _clean(title)), tuple(pages))


READERS: dict[str, Callable[[Path, bytes], Extracted]] = {
    ".txt": _plain,
    ".text": _plain,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".docx": _docx,
    ".pdf": _pdf,
}


def _sections(text: str, headings: list[Heading], title: str, start: int = 0) -> tuple[Section, ...]:
    """The text between headings, each with the path of headings above it; blank ones are left out."""
    above: list[Heading] = []
    found = []
    for heading, following in zip([None, *headings], [*headings, None], strict=True):
        if heading is not None:
            above = [earlier for earlier in above if earlier.level < heading.level] + [heading]
            start = heading.end
        end = len(text) if following is None else following.start
        words = [heading.words for heading in above]
        # A page's title is mostly its first heading too.
        names = words if words and words[0] == title else [title, *words]
        if text[start:end].strip():
            found.append(Section(start, end, " > ".join(name for name in names if name)))
    return tuple(found)


def _joined(blocks: Iterator[tuple[int, str]], title: str) -> Extracted:
    """Blocks of (heading level or 0, words) as one text with an empty line between two."""
    parts: list[str] = []
    headings: list[Heading] = []
    place = 0
    for level, words in blocks:
        if level:
            headings.append(Heading(level, place, place + len(words), " ".join(words.split())))
        parts.append(words)
        place += len(words) + 2
    text = "\n\n".join(parts)
    return Extracted(text, _sections(text, headings, title.strip()))


_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_NO_PARAGRAPH = re.compile(r" {4}|\t|\s*([-*+>|]|\d+[.)])(\s|$)")  # code, lists, quotes and tables are not underlined


def _markdown_headings(text: str, start: int) -> Iterator[Heading]:
    """Both spellings of CommonMark, outside of code fences: `# Install`, and `Install` underlined by = or -."""
    fence = above = ""  # the open fence; the line above, where it may be a heading's words
    inside = False  # a paragraph
    for match in _LINE.finditer(text, start):
        line, bare = match[0], match[0].rstrip("\n")
        fencing = _FENCE.match(bare)
        heading = None
        if fence:
            closes = fencing and fencing[1].startswith(fence) and not bare.strip().strip(fence[0])
            fence = "" if closes else fence
        elif fencing:
            fence = fencing[1]
        elif atx := _ATX.fullmatch(bare):
            heading = Heading(len(atx[1]), match.start(), match.end(), _unmarked(atx[2] or ""))
        elif above and (under := _UNDERLINE.fullmatch(bare)):
            level = 1 if under[1][0] == "=" else 2
            heading = Heading(level, match.start() - len(above), match.end(), _unmarked(above))
        plain = bool(bare.strip()) and not (heading or fence or fencing)
        above = line if plain and not inside and not _NO_PARAGRAPH.match(bare) else ""
        inside = plain
        if heading:
            yield heading


def _front_matter(text: str) -> tuple[str, int]:
    """The title in a YAML head between two lines of ---, and where the text begins after it."""
    head = re.match(r"---[ \t]*\n(.*?)\n(---|\.\.\.)[ \t]*(\n|$)", text, re.DOTALL)
    if not head:
        return "", 0
    title = re.search(r"^title:[ \t]*(.+?)[ \t]*$", head[1], re.MULTILINE)
    return title[1].strip("\"'") if title else "", head.end()


def _unmarked(words: str) -> str:
    """A heading's words without Markdown's links, code and emphasis."""
    words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", words)
    return " ".join(re.sub(r"[`*]+|(?<!\w)_+|_+(?!\w)", "", words).split())


def _docx_blocks(document: Any) -> Iterator[tuple[int, str]]:
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            rows = (" | ".join(dict.fromkeys(cell.text.strip() for cell in row.cells)) for row in block.rows)
            words = _clean("\n".join(rows))
            level = 0
        else:
            words = _clean(block.text)
            style = (block.style.name or "") if block.style is not None else ""
            level = 1 if style == "Title" else int(style[8:]) if re.fullmatch(r"Heading [1-9]", style) else 0
        if words:
            yield level, words


def _clean(words: str) -> str:
    """Line ends as \\n, and none of the characters that only steer a page: NUL, soft hyphens at line ends, U+FFFE."""
    words = words.replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe\n", "").replace("\u00ad\n", "")
    return re.sub(r"[\0-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]", "", words).strip()


def _decoded(path: Path, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        line = raw.count(b"\n", 0, place) + 1
        message = (
            f"byte {place + 1} of the file (0x{raw[place]:02x}) is not UTF-8; "
            "convert the file, for instance iconv -f latin1 -t utf-8"
        )
        raise LineError("utf-8", message, path=path, line=line) from error
    if "\0" in text:
        line = raw.count(b"\n", 0, raw.index(0)) + 1
        message = f"byte {raw.index(0) + 1} of the file is NUL, which no text holds; is the file UTF-16, or damaged?"
        raise LineError("nul", message, path=path, line=line)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _web_decoded(path: Path, raw: bytes) -> str:
    """A page's characters by the encoding that it declares in its first 1024 bytes, UTF-8 where it declares none."""
    declared = re.search(rb"""charset\s*=\s*["']?\s*([\w.:-]+)""", raw[:1024], re.IGNORECASE)
    name = declared[1].decode() if declared else "utf-8"
    if name.lower().replace("_", "-") in ("utf-8", "utf8", "utf-16", "utf-16le", "utf-16be"):
        return _decoded(path, raw)  # a page that can be read as ASCII so far cannot be UTF-16, as browsers know
    try:
        return raw.decode("cp1252" if name.lower() in ("iso-8859-1", "latin1", "us-ascii", "ascii") else name)
    except LookupError as error:
        raise LineError("charset", f"declares the unknown encoding {name!r}", path=path, line=1) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"byte {error.start + 1} of the file is not {name}, which the page declares; convert it to UTF-8"
        raise LineError("charset", message, path=path, line=line) from error


def _needed(module: str, package: str, extra: str, purpose: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, extra, purpose) from error


def _damaged(path: Path, expected: str, error: Exception) -> DataError:
    return DataError(f"is not {expected}: {str(error) or type(error).__name__}; open and save it again", path=path)
