"""The compiled scanners and the Python scanners give the same cells."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from helpers import CASE_FACTOR

from stream_perceptron.data.text import scanning
from stream_perceptron.data.text.records import Dialect, RawLines
from stream_perceptron.data.text.scanning import CsvScanner, JsonScanner, LibsvmScanner

pytestmark = pytest.mark.skipif(
    scanning.compiled is None, reason="there is no compiler: install gcc"
)

PLAIN_NUMBERS = "0 1 255 -3 0.5 17.25 1e2 1E-2 -0 -0.0 1e400 9007199254740993 0.1234567890123456789"
NUMBERS = [
    *PLAIN_NUMBERS.split(), "+4", ".5", "5.", "00", "1e-400", "nan", "inf", "1_000", "0x1", "1,5",
    "-1,25", "1e", "e5", "12345678901234567", "4.35e-17", "123456789012345678901",
]  # fmt: skip
JSON_NUMBERS = [
    *PLAIN_NUMBERS.split(), "12345678901234567890123", "1.5e-320", "00", "+1", ".5", "5.", "NaN",
    "Infinity",
]  # fmt: skip
TEXTS = [
    "", "a", "  ", " b ", "true", "TRUE", " false ", "\ttrue", "\t", "ü", "\xa0", "é\u2003x",
    "None", "null", "😀", "a b", "#", "x:y", "café",
]  # fmt: skip
KEYS = ["a", "b", "label", "features", "x", "a.b", "w1", "a_long_name", "ü", 'q"', "", "1", "\\"]


class RecordGenerator:
    """Generates random records."""

    def __init__(self, rng):
        self.rng = rng

    def csv(self, delimiter, n_fields):
        rng = self.rng
        n = n_fields if rng.random() < 0.97 else rng.choice([1, n_fields + 1])
        cells = []
        for _ in range(n):
            cell = rng.choice(NUMBERS if rng.random() < 0.5 else TEXTS)
            shapes = [cell] * 12 + [
                f'"{cell}"', f'"{cell}"', f'"{cell}""z"', f'"a{delimiter}b"', '"a\nb"', f'{cell}"',
                '"a"b',
            ]  # fmt: skip
            cells.append(rng.choice(shapes))
        return delimiter.join(cells) + rng.choice(["\n", "\r\n"])

    def text(self):
        texts = [*TEXTS, "\u2028", "\\", '"q"', "\x7f", "line\n"]
        return json.dumps(self.rng.choice(texts), ensure_ascii=self.rng.random() < 0.5)

    def value(self, depth=0):
        rng = self.rng
        kind = rng.random()
        if kind < 0.4:
            return rng.choice(JSON_NUMBERS if rng.random() < 0.1 else JSON_NUMBERS[:8])
        if kind < 0.55:
            return self.text()
        if kind < 0.62:
            return rng.choice(["true", "false", "null", "nul"])
        if kind < 0.64:
            return rng.choice(['"\\ud800"', '"\\ud83d\\ude00"', '"\\u00fc"', '"\\x"', '"\\/"'])
        if depth == 4:
            return "1"
        if kind < 0.8:
            members = [self.value(depth + 1) for _ in range(rng.randrange(4))]
            return f"[{rng.choice([', ', ',']).join(members)}]"
        return self.object(depth + 1)

    def object(self, depth=0):
        rng = self.rng
        members = [
            json.dumps(rng.choice(KEYS), ensure_ascii=rng.random() < 0.5)
            + rng.choice([":", ": ", " : "])
            + self.value(depth)
            for _ in range(rng.randrange(5))
        ]
        return f"{{{rng.choice(['', ' '])}{rng.choice([',', ', ']).join(members)}}}"

    def json(self):
        record = self.object() if self.rng.random() < 0.9 else self.value()
        return self.rng.choice(["", " "]) + record + self.rng.choice(["\n", "\r\n", " \n", "x\n"])

    def libsvm(self):
        rng = self.rng
        tokens = []
        if rng.random() < 0.9:
            tokens.append(rng.choice(["1", "-1", "+1", "a", "7.0", "label", "é", "a\x0bb", "x"]))
        names = ["1", "2", "3", "17", "007", "w1", "name", "ü", "a:b", "", "1000000", "999999"]
        for _ in range(rng.randrange(6)):
            tokens.append(f"{rng.choice(names)}:{rng.choice(NUMBERS)}")
        if rng.random() < 0.05:
            tokens.insert(rng.randrange(len(tokens) + 1), "#c")
        return rng.choice(["", " ", "\t"]) + " ".join(tokens) + rng.choice(["\n", "\r\n", " \n"])

    def mutate(self, record):
        rng, line = self.rng, bytearray(record.encode()[:-1])
        for _ in range(rng.choice([0, 0, 0, 1, 2]) if line else 0):
            index = rng.randrange(len(line) + 1)
            change = rng.random()
            if change < 0.5:
                line.insert(index, rng.choice(b'"\\,:{}[]0123456789.eE+-# \t\r\xc3\xff\0ab'))
            elif change < 0.8:
                del line[index : index + 1]
            else:
                line[index : index + 1] = line[index - 2 : index + 2]
        return bytes(line) + b"\n"


def scan_cells(scanner, records):
    """Scan records; return their cells, comparable bit by bit, and the errors."""
    lines = RawLines(b"".join(records), np.cumsum([len(record) for record in records]))
    cells = scanner.scan(lines)
    return cells.starts.tolist(), *map(describe_cells, [cells, cells.members]), cells.errors


def describe_cells(cells):
    """Return names, kinds, numbers and contents of all cells, comparable bit by bit."""
    if cells is None:
        return None
    n = len(cells.kinds)
    names = [""] * n if cells.name_ids is None else [cells.names[i] for i in cells.name_ids]
    contents = [repr(cells.contents.get(i)) for i in range(n)]
    cell_list = zip(names, cells.kinds.tolist(), contents, strict=True)
    return cells.starts.tolist(), list(cell_list), cells.doubles.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "json", "libsvm"])
def test_mutated_records_give_the_same_cells(form, report_figure):
    rng = random.Random(0)
    generator, n_records, n_read = RecordGenerator(rng), 0, 0
    for _ in range(600 * CASE_FACTOR):
        delimiter, n_fields = rng.choice(",;\t |"), rng.randrange(1, 6)
        dialect = Dialect(delimiter, "." if delimiter == "," else rng.choice(".,"))

        def make_scanner(n_fields=n_fields, dialect=dialect):
            names = [f"c{i}" for i in range(n_fields)]
            return {
                "csv": lambda: CsvScanner(names, dialect), "json": JsonScanner,
                "libsvm": LibsvmScanner,
            }[form]()  # fmt: skip

        compiled, reference = make_scanner(), make_scanner()
        reference._compiled = None
        options = (delimiter, n_fields) if form == "csv" else ()
        # The scanners keep names from the first block for the second.
        for _ in range(2):
            records = [getattr(generator, form)(*options) for _ in range(rng.randrange(1, 20))]
            records = [
                generator.mutate(record) if rng.random() < 0.5 else record.encode()
                for record in records
            ]
            expected = scan_cells(reference, records)
            assert scan_cells(compiled, records) == expected, records
            n_records += len(records)
            n_read += len(records) - len(expected[3])
    report_figure(f"{form}: {n_records:,} records identical, {n_read:,} of them well-formed")
    assert n_read > n_records // 4
