"""Texts that are numbers with separators, signs or units, and the commands that convert them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from typing import NamedTuple

_SIGNS = "$€£¥₹"
_SPACES = " \u00a0\u202f"  # also the no-break spaces between groups of digits
_TEXT = (  # compiled on first use, because few columns contain texts
    rf"[+-]?(?P<before>[{_SIGNS}]?) ?"
    rf"(?P<whole>\d{{1,3}}(?:,\d{{3}})+|\d{{1,3}}(?:[{_SPACES}]\d{{3}})+|\d+)(?P<rest>[.,]\d+)?"
    rf" ?(?P<after>[{_SIGNS}]|%|[^\W\d_]{{1,4}})?"
)


class NumberFormat(NamedTuple):
    """How the numbers in the texts of a column are written."""

    sign: str = ""  # the currency sign before or after each number
    unit: str = ""  # the unit after each number
    separator: str = ""  # between groups of three digits
    has_decimal_comma: bool = False

    def __str__(self) -> str:
        parts = [f"the currency sign {self.sign}"] if self.sign else []
        parts += [f"the unit {self.unit!r}"] if self.unit else []
        parts += ["thousands separators"] if self.separator else []
        return " and ".join(parts)

    def build_sed_command(self) -> str:
        """Return the command that converts the numbers in lines of CSV."""
        edits = []
        if self.separator == ",":  # only in quoted numbers: other commas are delimiters
            edits += [":a", r's/("[^",]*[0-9]),([0-9]{3}[^"]*")/\1\2/', "ta"]
        elif self.separator:
            edits += [":a", rf"s/([0-9]){self.separator}([0-9]{{3}})/\1\2/", "ta"]
        if self.sign:
            sign = rf"\{self.sign}" if self.sign == "$" else self.sign
            edits += [rf"s/{sign} ?([0-9])/\1/g", rf"s/([0-9]) ?{sign}/\1/g"]
        if self.unit:
            edits.append(rf"s/([0-9]) ?{self.unit}/\1/g")
        decimals = " (and learn with --decimal ,)" if self.has_decimal_comma else ""
        return f"sed -E {' '.join(f'-e {shlex.quote(edit)}' for edit in edits)}{decimals}"

    def build_jq_command(self, key: str | None, name: str) -> str:
        """Return the command that converts the numbers under a name in lines of JSON.

        `key` is the JSON key of the object with the features, if any.
        """
        path = "".join(f"[{json.dumps(part)}]" for part in (key, *name.split(".")) if part)
        edits = 'gsub(","; ".") | gsub("[^0-9.+-]"; "")'
        if not self.has_decimal_comma:
            edits = 'gsub("[^0-9.+-]"; "")'
        program = f'.{path} |= if type == "string" then {edits} | tonumber else . end'
        return f"jq -c {shlex.quote(program)}"


def find_number_format(texts: Iterable[str]) -> NumberFormat | None:
    """Return the format of the numbers in texts; None if a text is not a number.

    Empty texts are skipped. Plain numbers and numbers in more than one format also yield None.

    Examples
    --------
    >>> find_number_format(["$1,234.50", "$12.30"])
    NumberFormat(sign='$', unit='', separator=',', has_decimal_comma=False)
    >>> str(find_number_format(["12 %", "7 %"]))
    "the unit '%'"
    >>> find_number_format(["12 %", "red"]) is None
    True

    """
    merged = NumberFormat()
    for text in texts:
        if not text.strip():
            continue
        match = re.fullmatch(_TEXT, text.strip())
        if match is None:
            return None
        after = match["after"] or ""
        number_format = NumberFormat(
            sign=match["before"] or (after if after in _SIGNS else ""),
            unit="" if after in _SIGNS else after,
            separator=next((c for c in match["whole"] if not c.isdigit()), ""),
            has_decimal_comma=(match["rest"] or "").startswith(","),
        )
        for field, value in number_format._asdict().items():
            before = getattr(merged, field)
            if value and before and value != before:
                return None
            merged = merged._replace(**{field: value or before})
    return merged if str(merged) else None
