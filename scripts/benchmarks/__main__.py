"""Measure speed on this machine: scripts/bench [SECTION...]."""

from __future__ import annotations

import sys

import drift
import functions
import growth
import inside
import peers
import scale
import streams
import sweeps
import tables
from common import BENCH, machine

SECTIONS = {
    **peers.SECTIONS,
    **streams.SECTIONS,
    **sweeps.SECTIONS,
    **tables.SECTIONS,
    **growth.SECTIONS,
    **inside.SECTIONS,
    **functions.SECTIONS,
    **scale.SECTIONS,
    **drift.SECTIONS,
}


def main() -> None:
    unknown = set(sys.argv[1:]) - {"--help"} - set(SECTIONS)
    if unknown or "--help" in sys.argv:
        print(__doc__)
        for name, section in SECTIONS.items():
            print(f"{name}\n    {section.__doc__}")
        sys.exit(f"no section {', '.join(sorted(unknown))}" if unknown else 0)
    print(machine(), flush=True)
    report = [machine()]
    for name in sys.argv[1:] or SECTIONS:
        text = f"\n**{name}**: {SECTIONS[name].__doc__}\n\n{SECTIONS[name]()}"
        print(text, flush=True)
        report.append(text)
    BENCH.mkdir(parents=True, exist_ok=True)
    (BENCH / "report.md").write_text("\n".join(report))
    print(f"written to {BENCH / 'report.md'}")


if __name__ == "__main__":
    main()
