r"""
Concave sub-networks, non-convex targets: how do they add up?
=============================================================

Each sub-network :math:`F_k` is concave, so :math:`c_k F_k` is concave where :math:`c_k > 0` and
convex where :math:`c_k < 0`. With both signs, the sum

.. math:: f(x) = b_0 + \beta x + \sum_k c_k F_k(w_k x + o_k)

is a difference of convex functions, which can have any shape.
"""

import matplotlib.pyplot as plt
import numpy as np

from skrelu import ExponentialReLURegressor

x = np.linspace(-1, 1, 500)
targets = {
    "$x^3 - x$, two sub-networks": (x**3 - x, 2),
    r"$\sin(\pi\,(x + 1.2)^2)$, eight sub-networks": (np.sin(np.pi * (x + 1.2) ** 2), 8),
}

# %%
# The ridge functions follow from the fitted attributes: triangles are composed, and the waves are
# summed with their scales. Without refinement f is linear in 1, x and the ridge functions. So the
# coefficients solve a linear least-squares problem, with residuals of 0 up to rounding.


def ridge_functions(model, x):
    """Return F_k(w_k x + o_k), an array of shape (n_subnetworks, n_samples)."""
    h = model.directions_ * x + model.offsets_[:, None]
    total = np.zeros_like(h)
    for a, scale in zip(model.peaks_.T[: model.depth], model.scales_.T, strict=True):
        h = np.minimum(h / a[:, None], (1 - h) / (1 - a[:, None]))
        total += scale[:, None] * h
    return total


def parts(model, x):
    """Return the linear part and each c_k F_k, with c_k."""
    f = model.predict(x[:, None])
    columns = np.vstack([np.ones_like(x), x, ridge_functions(model, x)])
    coefficients = np.linalg.lstsq(columns.T, f)[0]
    assert np.allclose(coefficients @ columns, f)
    linear = coefficients[:2] @ columns[:2]
    return linear, coefficients[2:, None] * columns[2:], coefficients[2:]


# %%
# Left: all parts. A linear function is subtracted from each part so that it vanishes at both ends;
# this does not change its curvature. Right: their sum.


def tilted(part):
    """Subtract the chord of each row."""
    chord = part[..., :1] + (part[..., -1:] - part[..., :1]) * (x - x[0]) / (x[-1] - x[0])
    return part - chord


CONVEX, CONCAVE = "#d1542c", "#1f6fb4"
figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
for (left, right), (name, (y, n_subnetworks)) in zip(axes, targets.items(), strict=True):
    model = ExponentialReLURegressor(
        depth=5,
        n_subnetworks=n_subnetworks,
        refine=False,
        early_stopping=False,
        max_iter=1000,
        random_state=0,
    ).fit(x[:, None], y)
    _, terms, coefficients = parts(model, x)
    for term, coefficient in zip(terms, coefficients, strict=True):
        left.plot(x, tilted(term), color=CONCAVE if coefficient > 0 else CONVEX, lw=1.5)
    left.axhline(0, color="#b9c3cc", lw=0.8, zorder=0)
    left.set(title=f"Parts of {name}", xlabel="x")
    left.margins(y=0.25)
    left.plot([], [], color=CONCAVE, label="concave, $c_k > 0$")
    left.plot([], [], color=CONVEX, label="convex, $c_k < 0$")
    left.legend(loc="upper right", ncols=2)
    right.plot(x, y, color="#22303c", lw=6, alpha=0.25, label="target")
    right.plot(x, model.predict(x[:, None]), color="#22303c", lw=1.5, label="network")
    right.set(title=f"Their sum: $R^2$ = {model.score(x[:, None], y):.6f}", xlabel="x")
    right.set_ylim(y.min() - 0.1 * np.ptp(y), y.max() + 0.35 * np.ptp(y))
    right.legend(loc="upper right", ncols=2)
plt.show()
