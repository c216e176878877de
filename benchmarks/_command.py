"""The command line of experiments: what to measure, where to keep it, what to report."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks._experiment import Choice, Experiment, run, save, section
from benchmarks._store import Store
from benchmarks._text import machine

ROOT = Path(__file__).parents[1]
TABLES, IMAGES = ROOT / "docs" / "tables", ROOT / "docs" / "images"
Declared = Mapping[str, Callable[..., Experiment]]


def named(*functions: Callable[..., Experiment]) -> dict[str, Callable[..., Experiment]]:
    """Return functions that declare experiments, by their names."""
    return {function.__name__: function for function in functions}


def parse(name: str, description: str, declared: Declared, options: Mapping[str, Any]):
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    several = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--quick", action="store_true", help="a small part, to see that it runs")
    parser.add_argument("--only", **several, choices=list(declared), help=", ".join(declared))
    parser.add_argument("--methods", **several, help="measure only these")
    parser.add_argument("--problems", **several, help="measure only these")
    parser.add_argument("--repeats", type=int, help="measure only the first so many")
    parser.add_argument("--fresh", action="store_true", help="measure again what is kept")
    parser.add_argument(
        "--report", action="store_true", help="measure nothing, report what is kept"
    )
    parser.add_argument("--output", type=Path, help=f"text; default of full runs: {name}.txt")
    for option, settings in options.items():
        parser.add_argument(f"--{option}", **settings)
    return parser.parse_args()


def main(
    name: str,
    description: str,
    declared: Declared,
    options: Mapping[str, Any] | None = None,
    kept: bool = True,
) -> None:
    """Run experiments from the command line; print and save what comes of them.

    Rows are kept in docs/tables/NAME.csv, the text of a full run in docs/tables/NAME.txt. With
    ``--output`` both are there instead, and so are pictures; a quick run without it keeps nothing,
    and no run does that is not to be ``kept``.
    Options are what else `ArgumentParser.add_argument` takes; rows of other values stay apart.
    """
    said = parse(name, description, declared, options or {})
    given = {option: getattr(said, option) for option in options or {}}
    experiments = {part: make(said.quick, **given) for part, make in declared.items()}
    chosen = Choice(said.methods, said.problems, said.repeats)
    known = {name for e in experiments.values() for name in (*e.methods, *e.problems)}
    if unknown := {*(said.methods or ()), *(said.problems or ())} - known:
        raise SystemExit(f"There is no {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    text = said.output or (None if said.quick or not kept else TABLES / f"{name}.txt")
    keeps = text is not None and (text.is_file() or not text.exists())
    scores = [score for experiment in experiments.values() for score in experiment.scores]
    settings = " ".join(f"{key}={value}" for key, value in given.items() if value is not None)
    store = Store(text.with_suffix(".csv") if keeps else None, scores, said.quick, settings)
    where = "Made of kept rows; each section says where and when they were measured."
    sections = [where if said.report else machine()]
    print(sections[0], flush=True)
    for part in said.only or experiments:
        experiment = experiments[part]
        if not said.report:
            run(experiment, part, store, chosen, said.fresh)
        rows = store.rows(experiment.rows_of or [part], experiment.lasting)
        try:
            sections.append(section(experiment, part, rows, said.quick))
            print(f"\n{sections[-1]}\n", flush=True)
            if keeps and (said.output or not settings):
                images = IMAGES if text.parent.resolve() == TABLES else text.parent
                save(experiment, rows, text.parent, images)
        except LookupError as error:
            if len(rows) and chosen == Choice() and not said.report:
                raise
            print(f"{part}: too little has been measured for a report ({error!r}).")
    whole = len(sections) > len(experiments) and chosen == Choice() and not settings
    if text is not None and (said.output or whole):
        text.write_text("\n\n".join(sections) + "\n")
