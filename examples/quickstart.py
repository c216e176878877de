"""
How strong is this concrete?
============================

This script predicts the compressive strength of concrete from its mixture and age, by
`ExponentialReLURegressor` with default parameters and by two models of scikit-learn. It prints
cross-validated scores and saves a picture of them, ``quickstart.png``, in the current directory.
"""

from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelu import ExponentialReLURegressor

try:
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit(
        "This example draws a picture with matplotlib: run `pip install matplotlib`."
    ) from None

# %%
# The table: 1030 samples, 8 features (kg per m³ of seven ingredients, and age in days), strength
# in MPa in the last column. See ``data/README.md`` for its source.

table = np.loadtxt(Path(__file__).parent / "data" / "concrete.csv", delimiter=",", skiprows=1)
X, y = table[:, :-1], table[:, -1]

# %%
# The models. ExponentialReLURegressor standardizes X and y itself; MLPRegressor needs a scaler.

models = {
    "ExponentialReLURegressor": ExponentialReLURegressor(random_state=0),
    "MLPRegressor": make_pipeline(StandardScaler(), MLPRegressor(random_state=0, max_iter=3000)),
    "HistGradientBoosting": HistGradientBoostingRegressor(random_state=0),
}

# %%
# Five shuffled folds: each sample is predicted by a model that has not seen it.

folds = KFold(n_splits=5, shuffle=True, random_state=0)
predictions, scores = {}, {}
print(f"{'5-fold cross-validation':26s}{'R^2':>8s}{'RMSE (MPa)':>14s}{'fit (s)':>10s}")
for name, model in models.items():
    predicted, r2, rmse, seconds = np.empty_like(y), [], [], []
    for train, test in folds.split(X):
        start = perf_counter()
        model.fit(X[train], y[train])
        seconds.append(perf_counter() - start)
        predicted[test] = model.predict(X[test])
        r2.append(r2_score(y[test], predicted[test]))
        rmse.append(root_mean_squared_error(y[test], predicted[test]))
    predictions[name], scores[name] = predicted, (r2, rmse)
    print(f"{name:26s}{np.mean(r2):8.3f}{np.mean(rmse):14.2f}{np.mean(seconds):10.2f}", flush=True)

# %%
# Left: measured against predicted strength; on the diagonal the prediction is right. Right: the
# typical error of each model; dots are folds.

INK, BLUE, GREY = "#22303c", "#1f6fb4", "#c3ccd4"
plt.rcParams.update({"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY})
plt.rcParams.update({"xtick.color": INK, "ytick.color": INK, "font.size": 10})
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4.4), width_ratios=[1.3, 1], layout="constrained"
)
first = next(iter(models))
limits = np.array([0, 1.04 * y.max()])
left.plot(limits, limits, color=INK, lw=1, zorder=3)
dots = left.scatter(
    predictions[first], y, c=np.abs(predictions[first] - y), cmap="viridis_r", vmax=15, s=14, lw=0
)
figure.colorbar(dots, ax=left, label="absolute error (MPa)", extend="max", shrink=0.9, aspect=28)
left.set(xlim=limits, ylim=limits, aspect="equal", title="Predicted by a fit without the sample")
left.set(xlabel="predicted strength (MPa)", ylabel="measured strength (MPa)")

for place, (name, (r2, rmse)) in enumerate(scores.items()):
    right.barh(-place, np.mean(rmse), height=0.42, color=BLUE if name == first else GREY)
    right.plot(rmse, np.full(len(rmse), -place), "o", color=INK, ms=5, mec="white", mew=0.7)
    weight = "bold" if name == first else "normal"
    right.text(0, -place + 0.3, name, weight=weight)
    ink = "white" if name == first else INK
    numbers = f"{np.mean(rmse):.2f} MPa, $R^2$ {np.mean(r2):.3f}"
    right.text(0.12, -place, numbers, va="center", color=ink)
right.set(yticks=[], ylim=(-len(scores) + 0.5, 0.7), xlabel="RMSE (MPa), five folds and their mean")
right.set_title("Lower is better")
for axes in left, right:
    axes.spines[["top", "right"]].set_visible(False)
right.spines["left"].set_visible(False)
figure.savefig("quickstart.png", dpi=110)
print("Saved quickstart.png")
plt.show()
