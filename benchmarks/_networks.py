"""Ways to fit networks 4 wide: by the estimator, or all starts in one batch by its solvers.

Each function takes seeds (a number, or several that run in one batch) and returns what is fitted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks._data import Array
from skrelu import CompressedRegressor, ExponentialReLURegressor
from skrelu._data.scaling import Scaling
from skrelu._fit import tuning
from skrelu._fit.pretraining import pretrain, random_starts
from skrelu._fit.refinement import refine
from skrelu._networks.relu_network import WIDTH, ReLUNetwork, ReLUWeights
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.progress import Options
from skrelu._solvers.rows import Rows

DEPTH, LEARNING_RATE = 5, 1e-3
Draw = Callable[[int, int, int, torch.Generator], Tensor]  # see `torch_default`
Seeds = int | Sequence[int]


def default(seed: int, **parameters) -> ExponentialReLURegressor:
    """Return the estimator as it comes, but for its size: one start of one sub-network."""
    parameters = {"depth": DEPTH, "n_subnetworks": 1, "n_init": 1, **parameters}
    return ExponentialReLURegressor(**parameters, random_state=seed)


def any_size(seed: int) -> ExponentialReLURegressor:
    """Return the estimator as it comes: rows choose its size, too."""
    return ExponentialReLURegressor(random_state=seed)


def compressed(seed: int) -> CompressedRegressor:
    """Return the estimator as it comes, compressed to two sub-networks."""
    return CompressedRegressor(n_subnetworks=2, depth=DEPTH, random_state=seed)


def recipe(seed: int, n_steps: int = 2, **parameters) -> ExponentialReLURegressor:
    """Return an estimator by full-batch Adam that takes all of its steps, half in each stage."""
    steps = {"max_iter": n_steps // 2, "refine_max_iter": n_steps - n_steps // 2}
    return default(
        seed,
        alpha=0,
        solver="adam",
        tol=0,
        n_iter_no_change=sys.maxsize,  # no stop before the last step
        early_stopping=False,
        learning_rate=LEARNING_RATE,
        batch_size=10**9,  # all rows
        **{**steps, **parameters},
    )


class Starts:
    """Networks from several random starts, one a seed, fitted in one batch that the first seeds.

    ``fit`` is a function of rows, number of starts and a generator that returns the network and its
    weights (n_starts, n_parameters); ``standardize`` is whether X and y are, as by the estimator.
    """

    def __init__(self, seeds: Seeds, fit: Callable, standardize: bool) -> None:
        self.seeds = [seeds] if isinstance(seeds, int) else list(seeds)
        self.fit_rows, self.standardize = fit, standardize

    def fit(self, X: Array, y: Array) -> Starts:
        n, n_features = X.shape
        self.X_scaling = Scaling(np.zeros(n_features), np.ones(n_features))
        self.y_scaling = Scaling(np.zeros(1), np.ones(1))
        weights = np.full(n, 1 / n)
        if self.standardize:
            self.X_scaling = Scaling.of(X, weights)
            self.y_scaling = Scaling.of(y[:, None], weights)
        rows = Rows(
            torch.from_numpy(self.X_scaling.apply(X).T.copy()),
            torch.from_numpy(self.y_scaling.apply(y[:, None]).T.copy()),
            training=torch.from_numpy(np.tile(weights, (len(self.seeds), 1))),
            validation=None,
            n_trained=n,
        )
        generator = torch.Generator().manual_seed(self.seeds[0])
        self.network, self.theta = self.fit_rows(rows, len(self.seeds), generator)
        return self

    def predict(self, X: Array) -> Array:
        """Return predictions (n_starts, n_samples)."""
        inputs = torch.from_numpy(self.X_scaling.apply(X).T.copy())
        with torch.no_grad():
            return self.y_scaling.undo(self.network.forward(self.theta, inputs)[:, 0].numpy())


def staged(
    seeds: Seeds,
    n_steps: int,
    *,
    smooth: bool = True,
    pretraining: float = 0.5,
    screened: bool = True,
    learning_rate: float = LEARNING_RATE,
) -> Starts:
    """Return one sub-network as `recipe` has it, all starts in one batch.

    ``smooth``: scales follow from the peaks (Theorem 3.1) in pretraining, which gets a fraction of
    the steps; 0 lowers the random starts as they are. ``screened``: each start is the best of many
    random draws, as in the estimator, or one.
    """
    n_first = round(pretraining * n_steps)

    def fit(rows: Rows, n_starts: int, generator: torch.Generator) -> tuple[ReLUNetwork, Tensor]:
        model = TriangleModel(TriangleNetwork(len(rows.X), 1, DEPTH, smooth=smooth), 1)
        first, second = (
            _adam(n, rows, generator, learning_rate) for n in (n_first, n_steps - n_first)
        )
        start = None if screened else random_starts(model, rows, 0.0, generator, n_screened=1)
        network, theta = model.to_relu(pretrain(model, rows, start, 0.0, first).theta)
        return network, refine(network, theta, rows, 0.0, torch.zeros_like(theta), second).theta

    return Starts(seeds, fit, standardize=True)


def plain(
    seeds: Seeds,
    n_steps: int = 0,
    *,
    draw: Draw,
    solver: str = "adam",
    standardize: bool = False,
    depth: int = DEPTH,
) -> Starts:
    """Return plain 4-wide ReLU networks from random weights; "lm" has the estimator's limits."""

    def fit(rows: Rows, n_starts: int, generator: torch.Generator) -> tuple[ReLUNetwork, Tensor]:
        network = PlainNetwork(len(rows.X), 1, depth, 1)
        theta = network.random(draw, n_starts, generator)
        options = _adam(n_steps, rows, generator)
        if solver == "lm":
            most, trials = tuning.MAX_REFINEMENT, tuning.REFINEMENT_TRIALS
            limits = {"max_iter": most, "tol": 1e-4, "patience": 20, "trials": trials}
            options = replace(options, solver="lm", **limits)
        return network, refine(network, theta, rows, 0.0, torch.zeros_like(theta), options).theta

    return Starts(seeds, fit, standardize)


def _adam(
    n_steps: int, rows: Rows, generator: torch.Generator, learning_rate: float = LEARNING_RATE
) -> Options:
    return Options(
        solver="adam", max_iter=n_steps, tol=0.0, patience=sys.maxsize,
        learning_rate=learning_rate, batch_size=rows.n_trained, generator=generator,
    )  # fmt: skip


class PlainNetwork(ReLUNetwork):
    """A `ReLUNetwork` whose linear part stays zero: ``depth`` dense layers and a read-out."""

    def unpack(self, theta: Tensor) -> ReLUWeights:
        """Read the vector, with zeros for the linear part."""
        weights = super().unpack(theta)
        return weights._replace(linear=torch.zeros_like(weights.linear))

    def jacobian(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Tensor:
        """Return the derivatives (..., n_parameters, n_samples), zero for the linear part."""
        jacobian = super().jacobian(theta, X, cotangent)
        n_linear = self.n_features * self.n_outputs
        jacobian[..., -n_linear - self.n_outputs : -self.n_outputs, :] = 0
        return jacobian

    def random(self, draw: Draw, n_starts: int, generator: torch.Generator) -> Tensor:
        """Return starting points (n_starts, n_parameters) with every layer drawn alike."""
        inputs = [self.n_features, *[WIDTH] * (self.depth - 1)]
        layers = [draw(n_starts, WIDTH, n, generator)[:, None] for n in inputs]
        read_out = draw(n_starts, self.n_outputs, WIDTH, generator)
        return self.pack(
            ReLUWeights(
                hidden=[layer[..., :-1] for layer in layers],
                biases=[layer[..., -1] for layer in layers],
                output=read_out[..., :-1].mT[:, None],
                linear=read_out.new_zeros(n_starts, self.n_features, self.n_outputs),
                intercept=read_out[..., -1],
            )
        )


def torch_default(n_starts: int, fan_out: int, fan_in: int, generator: torch.Generator) -> Tensor:
    """Draw as `torch.nn.Linear` does: (n_starts, fan_out, fan_in + 1), biases the last column."""
    shape = (n_starts, fan_out, fan_in + 1)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (2 * uniform - 1) / fan_in**0.5


def rai(n_starts: int, fan_out: int, fan_in: int, generator: torch.Generator) -> Tensor:
    """Draw by randomized asymmetric initialization: gaussian, one entry a row Beta(2, 1).

    Lu, Shin, Su, Karniadakis, "Dying ReLU and initialization", 2020, arxiv.org/abs/1903.06733
    """
    shape = (n_starts, fan_out, fan_in + 1)
    weights = 0.6007 / fan_in**0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
    chosen = torch.randint(fan_in + 1, shape[:-1], generator=generator)[..., None]
    uniform = torch.rand(chosen.shape, generator=generator, dtype=torch.float64)
    return weights.scatter(-1, chosen, uniform.sqrt())  # Beta(2, 1) by its inverse


class Dense:
    """A network of dense layers, as wide as those of sub-networks, by full-batch Adam in float32.

    It begins with PyTorch's default weights or, ``released``, with a network that half of the steps
    pretrained by the recipe.
    """

    def __init__(self, seed: int, n_steps: int, n_subnetworks: int, released: bool = False):
        self.seed, self.n_steps, self.n_subnetworks = seed, n_steps, n_subnetworks
        self.released = released

    def fit(self, X: Array, y: Array) -> Dense:
        steps = self.n_steps
        if self.released:
            sizes = {"n_subnetworks": self.n_subnetworks, "max_iter": steps // 2}
            model = recipe(self.seed, **sizes, refine=False).fit(X, y)
            network, steps = model.to_torch(), steps - steps // 2
        else:
            network = self._drawn(X.shape[1])
        self.network = network.float()
        inputs, targets = (torch.tensor(part, dtype=torch.float32) for part in (X, y[:, None]))
        optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        for _ in range(steps):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(self.network(inputs), targets).backward()
            optimizer.step()
        return self

    def _drawn(self, n_features: int) -> torch.nn.Sequential:
        width = WIDTH * self.n_subnetworks + 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            layers: list[torch.nn.Module] = [torch.nn.Linear(n_features, width), torch.nn.ReLU()]
            for _ in range(DEPTH - 1):
                layers += [torch.nn.Linear(width, width), torch.nn.ReLU()]
            return torch.nn.Sequential(*layers, torch.nn.Linear(width, 1))

    @torch.no_grad()
    def predict(self, X: Array) -> Array:
        """Return predictions (n_samples,)."""
        return self.network(torch.tensor(X, dtype=torch.float32))[:, 0].double().numpy()
