"""How a CSV file is written: separator, encoding, marks in numbers; found out, or refused with the key to set."""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from include.errors import DataError
from include.settings.pipeline import CsvConfig
from include.tables.words import quoted

LOOKED_AT = 256 << 10  # bytes at the beginning of the file
CANDIDATES = {",": "','", ";": "';'", "\t": r'"\t"', "|": "'|'", "whitespace": "whitespace"}  # and how one writes them
OTHERS = {  # by how the file begins, in small letters
    b"par1": "looks like Parquet. Set the format to parquet",
    b"pk\x03\x04": "looks like a zip archive or an Excel file. Save the table as CSV",
    b"\xd0\xcf\x11\xe0": "looks like an Excel file. Save the table as CSV",
    b"\x1f\x8b": "is packed by gzip. Give it the ending .csv.gz",
    b"\x28\xb5\x2f\xfd": "is packed by Zstandard. Give it the ending .csv.zst",
    b"<!doctype": "is a web page. Check the address",
    b"<html": "is a web page. Check the address",
    b"<?xml": "is XML. Save the table as CSV",
    b"{": "looks like JSON. Save the table as CSV",
    b"[{": "looks like JSON. Save the table as CSV",
}
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Dialect:
    """What pandas needs to know. ``header`` has the first line's fields as they are, ``rows`` some lines after it."""

    separator: str
    encoding: str
    header: list[str]
    rows: list[list[str]]

    @property
    def header_names(self) -> list[str]:
        """The columns' names, as pandas gives them: ``Unnamed: 0`` to one that has none."""
        return [name or f"Unnamed: {number}" for number, name in enumerate(self.header)]

    @property
    def pandas_separator(self) -> str:
        """As `pandas.read_csv` takes it."""
        return r"\s+" if self.separator == "whitespace" else self.separator


def find_dialect(path: Path, rules: CsvConfig, key: str) -> Dialect:
    r"""Look at the beginning of a file.

    :param key: of ``rules`` in the configuration, ``data.csv`` or ``scoring.csv``; for messages.
    :raises DataError: the file is not text in this encoding, or its header is one column where it has several.
    """
    with path.open("rb") as file:
        beginning = file.read(LOOKED_AT)
        whole = not file.read(1)
    for sign, what in OTHERS.items():
        if beginning.lstrip()[:20].lower().startswith(sign):
            raise DataError(f"is not CSV: it {what}")
    encoding = _encoding(beginning, rules.encoding, key)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(beginning)
    if not whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    if text.lower().startswith("sep="):
        raise DataError(f"begins with a line for Excel, {quoted(text.splitlines()[0])}. Remove that line")
    separator = rules.separator if rules.separator != "auto" else _separator(text)
    rows = _split(text, separator)
    if not rows:
        raise DataError("has no rows")
    _require_several(rows, text, separator, key)
    return Dialect(separator, encoding, rows[0], rows[1:])


def _encoding(beginning: bytes, wanted: str, key: str) -> str:
    marked = next((name for mark, name in MARKS if beginning.startswith(mark)), None)
    if wanted == "auto":
        if marked is None and b"\0" in beginning:
            raise DataError(_what_has_zero_bytes(beginning, key))
        return marked or "utf-8"
    name = codecs.lookup(wanted).name
    if name in ("utf-8", "iso8859-1", "cp1252") and b"\0" in beginning:
        raise DataError(_what_has_zero_bytes(beginning, key))
    is_ascii = beginning.isascii()
    if not is_ascii and name not in ("utf-8", "utf-8-sig") and not name.startswith("utf-16") and _is_utf8(beginning):
        raise DataError(f"is valid UTF-8, but {key}.encoding is {wanted}: set it to utf-8")
    return marked if marked and name.startswith(("utf-8", "utf-16")) else wanted


def _what_has_zero_bytes(beginning: bytes, key: str) -> str:
    even, odd = beginning[0:2000:2].count(0), beginning[1:2000:2].count(0)
    for name, many, few in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if many > 200 > few or (many and not few and many * 4 > len(beginning[:2000])):
            return f"contains zero bytes and looks like UTF-16: set {key}.encoding to {name}"
    return "contains zero bytes, so it is not a text file"


def _is_utf8(beginning: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
        return True
    except UnicodeDecodeError:
        return False


def likely_encoding(error: UnicodeDecodeError) -> str:
    """The single-byte encoding that text which is not UTF-8 most likely has."""
    return "cp1252" if any(0x80 <= byte < 0xA0 for byte in error.object) else "latin-1"


def _separator(text: str) -> str:
    """The one that divides each line into the same number of fields, at least two; else the comma."""
    for candidate in CANDIDATES:
        if _fits(_split(text, candidate)):
            return candidate
    return ","


def _fits(rows: Sequence[Sequence[str]]) -> bool:
    lengths = {len(row) for row in (rows[:-1] if len(rows) > 2 else rows)}  # the last one may be cut off
    return len(lengths) == 1 and lengths.pop() > 1


def _split(text: str, separator: str) -> list[list[str]]:
    """The lines as fields; blank lines are left out, as pandas does."""
    if separator == "whitespace":
        lines = "\n".join(line.strip() for line in text.replace("\t", " ").splitlines())
        return [row for row in csv.reader(io.StringIO(lines), delimiter=" ", skipinitialspace=True) if row]
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error:  # a field of more than 128 KiB
        rows = [line.split(separator) for line in text.splitlines()]
    return [row for row in rows if row and not (len(row) == 1 and not row[0].strip())]


def _require_several(rows: Sequence[Sequence[str]], text: str, separator: str, key: str) -> None:
    header = rows[0]
    if len(header) > 1:
        return
    line = text.strip().splitlines()[0]
    for candidate, written in CANDIDATES.items():
        if candidate != separator and len(_split(line, candidate)[0]) > 1 and re.search(r"\W", line):
            others = _split(text, candidate)
            if candidate != "whitespace" or _fits(others):
                raise DataError(f"the header is one column, {quoted(line)}: set {key}.separator to {written}")
