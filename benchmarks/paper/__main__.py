"""Reproduce the paper's experiments beside skrelu's own fit, and go on from there.

    python -m benchmarks.paper [--quick] [--only NAME ...] [--output FILE]

One module a group of experiments; each measurement returns its table as text and, in a
full run, writes docs/tables/paper_NAME.csv and docs/images/paper_NAME.png. The text of a
full run is kept in docs/tables/paper.txt.
"""

from benchmarks._report import TABLES, main
from benchmarks.paper import cost, dense, depth, several, sparse

MEASUREMENTS = {
    "dense": dense.dense,
    "sparse": sparse.sparse,
    "noise": sparse.noise,
    "learning_rate": sparse.learning_rate,
    "several": several.several,
    "concrete": several.concrete,
    "depth": depth.depth,
    "cost": cost.cost,
}

if __name__ == "__main__":
    main(__doc__ or "", MEASUREMENTS, TABLES / "paper.txt")
