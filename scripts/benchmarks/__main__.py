"""Measure speed on this machine: scripts/bench [SECTION...]."""

from __future__ import annotations

import importlib
import sys

from common import BENCH, SECTIONS, describe_machine

for part in ("processes", "inside", "peers", "tables", "scale", "drift"):
    importlib.import_module(part)


def main() -> None:
    unknown = set(sys.argv[1:]) - {"--help"} - set(SECTIONS)
    if unknown or "--help" in sys.argv:
        print(__doc__)
        for name, section in SECTIONS.items():
            print(f"{name}\n    {section.__doc__}")
        sys.exit(f"no section {', '.join(sorted(unknown))}" if unknown else 0)
    report = [describe_machine()]
    print(describe_machine(), flush=True)
    for name in sys.argv[1:] or SECTIONS:
        report.append(f"\n**{name}**: {SECTIONS[name].__doc__}\n\n{SECTIONS[name]()}")
        print(report[-1], flush=True)
    BENCH.mkdir(parents=True, exist_ok=True)
    (BENCH / "report.md").write_text("\n".join(report))
    print(f"written to {BENCH / 'report.md'}")


if __name__ == "__main__":
    main()
