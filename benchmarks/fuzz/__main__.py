"""Fit random cases of every kind and check what comes of them.

    python -m benchmarks.fuzz [--cases 2000] [--seed 0] [--workers 1] [--output FILE]
    python -m benchmarks.fuzz --case 1234 [--seed 0]

Each case is drawn from the seed and its number alone, and runs in a process of its own with
bounded time and memory. The exit status is 1 if one has failed. The second form runs one case and
says everything about it. A full run is kept in docs/tables/fuzz.txt.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks._command import TABLES
from benchmarks._text import machine, table
from benchmarks.fuzz.cases import draw_case
from benchmarks.fuzz.outcomes import OUTCOMES, Result
from benchmarks.fuzz.worker import results

ALL = 2000  # cases of a full run


def _areas(ended: list[Result]) -> str:
    """Count outcomes by what was drawn; cases that fail in several ways count in each."""
    seen = [name for name in OUTCOMES if any(name in result.outcomes for result in ended)]
    counts = Counter(
        (tag, name)
        for result in ended
        for tag in dict.fromkeys([("all", ""), *result.tags])
        for name in (*result.outcomes, "cases")
    )
    order = {area: i for i, area in enumerate(["all", *dict(ended[0].tags)])}
    drawn = sorted({tag for tag, _ in counts}, key=lambda tag: (order[tag[0]], tag))
    header = ["", "cases", *seen]
    rows = [
        [": ".join(filter(None, tag)), *(counts[tag, name] or None for name in header[1:])]
        for tag in drawn
    ]
    return table(header, rows)


def _alike(text: str) -> str:
    """Return a sentence without its numbers and names, to count what is the same."""
    return re.sub(r"(?<![\w.])[-+]?\d[\d.]*(e[-+]?\d+)?|'[^']*'|\[.*?\]", "#", text)[:110]


def _grouped(lines: list[tuple[str, int]]) -> str:
    """Count sentences that are alike, with the first case of each."""
    groups: dict[str, list[int]] = {}
    for text, number in lines:
        groups.setdefault(_alike(text), []).append(number)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return "\n".join(f"{len(n):5}  case {n[0]:<5}  {text}" for text, n in ordered) or "none"


def report(ended: list[Result], seed: int) -> str:
    """Return the text of a run."""
    ended = sorted(ended, key=lambda result: result.number)
    failed = [result for result in ended if result.findings]
    slowest = sorted(ended, key=lambda result: -result.seconds)[:5]
    sections = {
        "outcomes by what was drawn": _areas(ended),
        "failing kinds": _grouped([(str(f), r.number) for r in failed for f in r.findings]),
        "sentences of refusals": _grouped(
            [(r.sentence, r.number) for r in ended if r.outcomes == {"refused"}]
        ),
        "slowest": ", ".join(f"case {r.number}: {r.seconds:.0f} s" for r in slowest),
        f"failing cases: {len(failed)} of {len(ended)}": "\n".join(
            f"python -m benchmarks.fuzz --seed {seed} --case {r.number}  # "
            + "; ".join(map(str, r.findings))[:240]
            for r in failed
        )
        or "none",
    }
    return "\n\n".join(f"{name}\n{'=' * len(name)}\n{text}" for name, text in sections.items())


def explain(seed: int, number: int) -> Result:
    """Run one case and print everything about it."""
    case = draw_case(seed, number)
    print(case.described())
    print(f"\n{case.estimator.__name__}({case.parameters})\nmust be refused: {case.reasons}")
    for name, value in case.data.items():
        print(f"\n{name}: {type(value).__name__} {getattr(value, 'shape', '')}\n{value}"[:1500])
    (result,) = results(seed, [number])
    print(f"\n{result.ended} after {result.seconds:.1f} s {result.sentence}")
    for finding in result.findings:
        print(f"\n{finding}\n{finding.detail}")
    return result


def main() -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=ALL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run this one only, and explain it")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, help="default of a full run: docs/tables/fuzz.txt")
    arguments = parser.parse_args()
    if arguments.case is not None:
        return bool(explain(arguments.seed, arguments.case).findings)
    title, begin, ended = machine(), time.perf_counter(), []
    for result in results(arguments.seed, range(arguments.cases), arguments.workers):
        ended.append(result)
        if result.findings:
            print(f"case {result.number}: {'; '.join(map(str, result.findings))[:200]}", flush=True)
    seconds = time.perf_counter() - begin
    line = f"{arguments.cases} cases of seed {arguments.seed} in {seconds:.0f} s"
    text = f"{title}\n{line}\n\n{report(ended, arguments.seed)}\n"
    print(f"\n{text}")
    path = arguments.output or (TABLES / "fuzz.txt" if arguments.cases >= ALL else None)
    if path is not None:
        path.write_text(text)
    return any(result.findings for result in ended)


if __name__ == "__main__":
    sys.exit(main())
