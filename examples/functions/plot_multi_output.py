"""
Several outputs: one network for a pendulum's angle and speed?
==============================================================

This example fits a surrogate of a simulation: given the angle at which a pendulum is let go and a
time, it predicts the angle and the angular velocity at that time. Both outputs use the same
sub-networks, so the directions and the triangles are learned once.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

from skrelu import ExponentialReLURegressor

TIMES = np.linspace(0, 10, 61)


def simulate(angles):
    """Return inputs (angle let go at, time) and outputs (angle, velocity), all rows below."""
    X, y = [], []
    for angle in angles:
        solution = solve_ivp(
            lambda _, state: [state[1], -np.sin(state[0])],
            (TIMES[0], TIMES[-1]),
            [angle, 0.0],
            t_eval=TIMES,
            rtol=1e-8,
        )
        X.append(np.column_stack([np.full_like(TIMES, angle), TIMES]))
        y.append(solution.y.T)
    return np.concatenate(X), np.concatenate(y)


X, y = simulate(np.linspace(0.1, 2.5, 17))
unseen = [0.55, 1.3, 1.9, 2.3]
X_test, y_test = simulate(unseen)

# %%
# The targets are an array with a column for each output. The fit standardizes each column, so that
# units do not matter, and predictions have the units of y.

network = ExponentialReLURegressor(
    n_init=4, early_stopping=True, max_iter=1000, random_state=0
).fit(X, y)
predicted = network.predict(X_test)
for name, column in [("angle", 0), ("angular velocity", 1)]:
    rest = np.sum((predicted[:, column] - y_test[:, column]) ** 2)
    r2 = 1 - rest / np.sum((y_test[:, column] - y_test[:, column].mean()) ** 2)
    print(f"R^2 of the {name} at unseen starting angles: {r2:.4f}")

# %%
# With early stopping each of the four starts holds out different rows, and the model is their
# weighted average: one network with the sub-networks of all starts.

print(f"starts averaged: {network.n_starts_}, sub-networks: {network.n_subnetworks_}")

# %%
# The picture shows trajectories from angles that are not in the training data: lines are simulated,
# dots are predicted. A pendulum let go near the top moves slowly at first, so its swings are long
# and not sinusoidal.

colors = plt.colormaps["viridis"](np.linspace(0.1, 0.85, len(unseen)))
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for angle, color in zip(unseen, colors, strict=True):
    rows = X_test[:, 0] == angle
    left.plot(TIMES, y_test[rows, 0], color=color, lw=1.5, label=f"let go at {angle} rad")
    left.plot(TIMES, predicted[rows, 0], ".", color=color, ms=5)
    right.plot(*y_test[rows].T, color=color, lw=1.5)
    right.plot(*predicted[rows].T, ".", color=color, ms=5)
left.set(xlabel="time", ylabel="angle (rad)", title="Angle", ylim=(-2.6, 4.2))
left.legend(loc="upper center", ncols=2)
right.set(xlabel="angle (rad)", ylabel="angular velocity", title="Both outputs")
plt.show()
