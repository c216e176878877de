"""Compare skrelu with its peers on 62 smooth functions of one to ten inputs.

    python -m benchmarks.functions [--quick] [--only NAME ...] [--output FILE]

Each measurement returns its table as text and, in a full run, writes
docs/tables/functions_NAME.csv, row by row, and docs/images/functions_NAME.png. The text of a
full run is kept in docs/tables/functions.txt.
"""

from benchmarks._report import TABLES, main
from benchmarks.functions.comparison import clean, noisy
from benchmarks.functions.parameters import parameters

MEASUREMENTS = {"clean": clean, "noisy": noisy, "parameters": parameters}

if __name__ == "__main__":
    main(__doc__ or "", MEASUREMENTS, TABLES / "functions.txt")
