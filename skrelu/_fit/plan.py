"""The plan of a fit, chosen by its parameters and the size of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from skrelu._fit import tuning
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.relu_network import WIDTH, ReLUNetwork
from skrelu._networks.shapes import Shape
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.losses import Loss, SquaredError
from skrelu._solvers.progress import FEWEST_CHUNKED


@dataclass(frozen=True)
class Settings:
    """The parameters of an estimator that determine a fit; see its docstring."""

    depth: int
    exact_depth: bool  # whether composed sub-networks have this depth, not the limit
    encoded_depth: int  # of waves that read encoded columns
    n_subnetworks: int | str
    n_levels: int | str
    n_init: int | str
    smooth: bool
    alpha: float
    solver: str
    max_iter: int
    refine: bool
    refine_max_iter: int | str
    tol: float
    early_stopping: bool | str
    validation_fraction: float
    n_iter_no_change: int
    learning_rate: float | str
    batch_size: int | str
    loss: Loss
    shape: Shape | None


@dataclass(frozen=True)
class Plan:
    """The choices of a fit, given the size of the data."""

    model: TriangleModel
    relu: ReLUNetwork  # of one start
    loss: Loss
    n_starts: int
    solver: str
    early_stopping: bool
    pretraining_work: float  # multiplications of an iteration
    refinement_work: float
    max_refinement: int
    limit_iter: int  # of each fit in the limit
    in_limit: bool  # whether refinement begins in the limit of infinite depth
    tries_several: bool  # dampings at once in refinement
    n_branches: int  # of each start, in the limit
    grows: bool  # whether the network grows from shallower ones, in the limit
    composed: ComposedNetwork | None  # fitted instead of, or before, `triangles`
    noise_expected: bool  # whether the loss makes much noise likely
    automatic: bool  # whether any kind of model may be fitted
    composed_noise: float = tuning.COMPOSED_NOISE  # error above which composed networks give up

    @property
    def triangles(self) -> TriangleNetwork:
        """The triangle waves of `model`."""
        return self.model.wave_network

    @property
    def pretrained(self) -> TriangleModel:
        """The model that is pretrained: the same for all depths to which networks grow."""
        if not self.grows:
            return self.model
        return replace(self.model, triangles=replace(self.triangles, depth=tuning.GROWN_FROM))

    @property
    def network(self) -> TriangleModel | ComposedNetwork:
        """The network of one start that is pretrained."""
        return self.model if self.composed is None else self.composed

    def for_noise(self) -> Plan:
        """Return the plan if much noise is expected: with few free peaks."""
        triangles = self.model.triangles
        if triangles.n_free_peaks is not None or not triangles.smooth:
            return self
        n_free_peaks = min(tuning.NOISY_PEAKS, triangles.n_peaks)
        triangles = replace(triangles, n_free_peaks=n_free_peaks)
        return replace(self, model=replace(self.model, triangles=triangles))

    def by_least_squares(self, model: TriangleModel, relu: ReLUNetwork) -> Plan:
        """Return the plan of one start with fixed waves, whose coefficients are fitted."""
        one = replace(self, model=model, relu=relu, n_starts=1)
        return replace(one, solver="ridge", composed=None, in_limit=False)

    def described(self) -> str:
        """Return the sizes and the kind of the network in words."""
        return (
            f"depth={self.triangles.depth}, n_subnetworks={self.network.n_subnetworks}, "
            f"n_levels={self.network.n_levels}, smooth={self.triangles.smooth}, "
            f"loss={self.loss.name}, "
            f"{'no shape' if self.model.shape is None else self.model.shape}, "
            f"{self.triangles.n_features} features and {self.relu.n_outputs} outputs"
        )


def make_plan(settings: Settings, n_samples: int, n_features: int, n_outputs: int) -> Plan:
    """Choose sizes, solver and early stopping from the size of the data.

    Raises
    ------
    ValueError
        If the parameters need too much memory, or contradict each other.
    """
    _check_size(settings, n_samples, n_features, n_outputs)
    model = _model(settings, n_samples, n_features, n_outputs)
    relu = ReLUNetwork(n_features, model.wave_network.n_subnetworks, settings.depth, n_outputs)
    n_waves, n_residuals = model.wave_network.n_parameters, n_samples * n_outputs
    work = n_waves**2 * (n_samples + n_waves / 3)
    if _joint(settings):
        rows = n_samples if settings.loss.classes else n_residuals
        work = model.n_parameters**2 * (rows + model.n_parameters / 3)
    n_starts = _n_starts(settings, work)
    solver = settings.solver
    if solver == "auto":
        numbers = n_starts * n_waves * (n_waves + 2 * n_outputs)
        most_work = tuning.LM_WORK_OF_CLASSES if settings.loss.classes else tuning.LM_WORK
        fits = n_starts * work <= most_work and numbers <= tuning.LM_NUMBERS
        solver = "lm" if fits else "adam"
    refinement = _refinement(settings, solver, n_starts, n_residuals, relu.n_parameters)
    possible = (
        solver == "lm"
        and settings.smooth
        and settings.depth > 1
        and n_outputs == 1
        and not settings.loss.classes  # it would gain little
    )
    grows = possible and _grows(settings, relu, n_starts, n_samples)
    if grows:
        n_branches = max(1, tuning.MOST_BRANCHES // n_starts)
        max_iter = max(refinement.max_iter, tuning.GROWN_ITER)
        refinement = refinement._replace(n_branches=n_branches, max_iter=max_iter)
    in_limit = grows or (possible and refinement.max_iter >= tuning.MIN_ITER_IN_LIMIT)
    # What depends on the number of weights is the same for all depths to which networks grow.
    n_released = (replace(relu, depth=tuning.GROWN_FROM) if grows else relu).n_parameters
    if in_limit:
        # With many rows refinement finds the structure; few rows need the peaks of pretraining.
        n_free_peaks = 1 if n_residuals >= n_released else min(3, settings.depth - 1)
        model = replace(model, triangles=replace(model.triangles, n_free_peaks=n_free_peaks))
    early_stopping = settings.early_stopping
    if early_stopping == "auto":
        n_weights = n_released if refinement.max_iter else n_waves
        likely = n_starts > 1 or 5 * n_weights > n_residuals or settings.loss.classes
        early_stopping = n_samples >= tuning.MIN_ROWS_TO_HOLD_OUT and likely
    convex = settings.shape is not None and any(settings.shape.convexity)
    return Plan(
        model,
        relu,
        settings.loss,
        n_starts,
        solver,
        bool(early_stopping),
        n_starts * work,
        refinement.work,
        refinement.max_iter,
        refinement.limit_iter,
        in_limit,
        refinement.tries_several,
        refinement.n_branches,
        grows,
        _composed(settings, solver, n_samples, n_features, n_outputs),
        settings.n_levels == "auto" and not isinstance(settings.loss, SquaredError) and not convex,
        settings.n_subnetworks == settings.n_init == settings.n_levels == settings.solver == "auto"
        and settings.smooth
        and settings.shape is None,
    )


def _model(settings: Settings, n_samples: int, n_features: int, n_outputs: int) -> TriangleModel:
    """Return sub-networks on one level: as many as requested, or as the rows determine."""
    n_subnetworks = settings.n_subnetworks
    if n_subnetworks == "auto":
        most = 8 if n_features == 1 else 32
        n_subnetworks = min(most, max(1, n_samples // 32))
        n_subnetworks *= 1 if settings.shape is None else tuning.SHAPED
        n_each = n_features + 1 + settings.depth + 1
        n_subnetworks = max(1, min(n_subnetworks, n_samples // n_each))
    triangles = TriangleNetwork(
        n_features, int(n_subnetworks), settings.depth, smooth=settings.smooth
    )
    return TriangleModel(triangles, n_outputs, settings.shape)


def _n_starts(settings: Settings, work: float) -> int:
    """Return the number of starts, given the multiplications of one start in an iteration."""
    if settings.n_init != "auto":
        return int(settings.n_init)
    fewest = tuning.FEWEST_STARTS_OF_CLASSES if settings.loss.classes else 1
    return max(fewest, round(tuning.MOST_STARTS * min(1, tuning.STARTS_WORK / work) ** 0.5))


class _Refinement(NamedTuple):
    max_iter: int
    limit_iter: int
    tries_several: bool
    n_branches: int
    work: float  # multiplications of an iteration


def _refinement(
    settings: Settings, solver: str, n_starts: int, n_residuals: int, n_weights: int
) -> _Refinement:
    """Return how long, and how, released weights are refined."""
    if settings.shape is not None and settings.refine_max_iter != "auto" and settings.refine:
        raise ValueError(
            f"refine_max_iter={settings.refine_max_iter}, but with convexity or monotonic_cst "
            "nothing is refined: released weights would not keep the shape. Leave it at "
            "'auto', or set refine=False."
        )
    small, large = sorted((n_residuals, n_weights))
    work = n_starts * small**2 * (large + small / 3)
    tries_several = work < tuning.TRYING_WORK
    branches = [n for n in (4, 2, 1) if n * n_starts <= tuning.MOST_BRANCHES and tries_several] or [
        1
    ]
    if settings.shape is not None or not settings.refine:
        return _Refinement(0, 0, tries_several, branches[0], work)
    n_limits = max(1, settings.depth - tuning.UNFOLDED_LAYERS)
    if settings.refine_max_iter != "auto":
        limit = int(settings.refine_max_iter)
        in_limit = min(tuning.LIMIT_ITER, limit // (2 * n_limits))
        return _Refinement(limit, in_limit, tries_several, branches[0], work)
    possible = [_affordable(work * n, tries_several) for n in branches]
    at_length = [i for i, count in enumerate(possible) if count >= 2 * tuning.MIN_ITER_IN_LIMIT]
    chosen = at_length[0] if at_length else len(branches) - 1
    affordable = possible[chosen] if possible[chosen] >= tuning.MIN_REFINEMENT else 0
    memory_bound = n_starts * small * (small if n_weights <= n_residuals else large)
    fits = solver == "adam" or memory_bound <= tuning.LM_NUMBERS
    limit = settings.max_iter if solver == "adam" else min(tuning.MAX_REFINEMENT, affordable)
    in_limit = min(tuning.LIMIT_ITER, limit // (2 * n_limits))
    if n_limits > 1 and limit >= tuning.MIN_ITER_OF_DEEP:
        # Networks in the limit have 1 to n_limits layers, so their iterations take less time: the
        # sum of the squares of these numbers, relative to the square of the depth.
        cost = n_limits * (n_limits + 1) * (2 * n_limits + 1) / (6 * settings.depth**2)
        in_limit = min(tuning.LIMIT_ITER, int(limit / (2 * cost)))
        limit += int(in_limit * (n_limits - cost))
    return _Refinement(limit if fits else 0, in_limit, tries_several, branches[chosen], work)


def _grows(settings: Settings, relu: ReLUNetwork, n_starts: int, n_samples: int) -> bool:
    """Return whether deep networks grow from shallower ones: small ones that are refined."""
    if settings.depth < tuning.GROWN_FROM or settings.refine_max_iter != "auto":
        return False
    if settings.shape is not None or not settings.refine or n_samples > tuning.GROWN_ALL_ROWS:
        return False
    n_weights = replace(relu, depth=tuning.GROWN_TO).n_parameters
    small, large = sorted((min(n_samples, tuning.GROWING_ROWS[1]), n_weights))
    return n_starts * small**2 * (large + small / 3) <= tuning.GROWN_WORK


def _affordable(work: float, tries_several: bool) -> int:
    """Return the number of iterations of refinement within `REFINEMENT_SECONDS`."""
    each = tuning.SECONDS_TRYING if tries_several else tuning.SECONDS_NOT_TRYING
    return int(tuning.REFINEMENT_SECONDS / (tuning.SECONDS_AN_ITERATION + each * work))


def _check_size(settings: Settings, n_samples: int, n_features: int, n_outputs: int) -> None:
    """Raise an error if the networks would not fit into memory."""
    asked = {
        name: getattr(settings, name)
        for name in ("n_subnetworks", "n_levels", "n_init")
        if getattr(settings, name) != "auto"
    }
    n_subnetworks, n_levels, n_init = (
        int(asked.get(name, 1)) for name in ("n_subnetworks", "n_levels", "n_init")
    )
    n_subnetworks = max(n_subnetworks, n_levels)
    size = -(-n_subnetworks // n_levels)  # sub-networks of a level
    depth = settings.depth * (1 if n_levels == 1 else 2)
    earlier = WIDTH * size * (n_levels - 1) / 2  # read by a sub-network, on average
    each = WIDTH * (n_features + earlier + 1 + (WIDTH + 1) * (depth - 1) + n_outputs)
    n_columns = 1 + n_features + n_subnetworks  # of the linear problem that gives coefficients
    system = n_columns * max(n_columns, tuning.HELD_AT_ONCE * min(n_samples, FEWEST_CHUNKED))
    needed = n_init * max(n_subnetworks * each, n_samples, system if n_levels == 1 else 0)
    if needed > tuning.MOST_NUMBERS:
        chosen = ", ".join(f"{name}={value}" for name, value in asked.items()) or "this table"
        raise ValueError(
            f"With {chosen}, networks of depth={settings.depth} for {n_samples} rows of "
            f"{n_features} features take {needed:.2g} numbers ({8e-9 * needed:.2g} GB), but at "
            f"most {tuning.MOST_NUMBERS:.2g} can be held: choose smaller ones, or leave them at "
            "'auto'."
        )


def _composed(
    settings: Settings, solver: str, n_samples: int, n_features: int, n_outputs: int
) -> ComposedNetwork | None:
    """Return the composed network to fit, None for sub-networks on one level.

    Parameters
    ----------
    solver : {"lm", "adam"}
        Solver of sub-networks on one level.
    """
    classes = settings.loss.classes
    if settings.n_levels == "auto":
        automatic = settings.n_subnetworks == settings.n_init == "auto" and settings.smooth
        possible = automatic and settings.solver != "adam" and settings.shape is None
        # On large tables, few composed sub-networks learn less than many on one level.
        suits = isinstance(settings.loss, SquaredError) or (classes and solver == "lm")
        fewest = tuning.MIN_ROWS_COMPOSED_CLASSES if classes else tuning.MIN_ROWS_COMPOSED
        if not (possible and suits) or n_samples < fewest:
            return None
        n_levels = tuning.N_LEVELS_OF_CLASSES if classes else tuning.N_LEVELS
    else:
        n_levels = int(settings.n_levels)
    if n_levels == 1:
        return None
    if not settings.smooth:
        raise ValueError(
            f"smooth=False is for n_levels=1, but n_levels={n_levels}: sub-networks that read "
            "others are pretrained in the limit of infinite depth, where there are no free scales."
        )
    shape = settings.shape
    if settings.n_subnetworks != "auto":
        n_subnetworks = int(settings.n_subnetworks)
        network = ComposedNetwork(n_features, n_subnetworks, n_levels, n_outputs, shape)
        if network.n_subnetworks % n_levels:
            raise ValueError(
                f"n_subnetworks={network.n_subnetworks} is not a multiple of n_levels={n_levels}, "
                "but every level has the same number of sub-networks."
            )
        if settings.solver != "adam" and network.n_parameters**2 > tuning.LM_NUMBERS:
            raise ValueError(
                f"n_subnetworks={network.n_subnetworks} on n_levels={n_levels} have "
                f"{network.n_parameters} weights in pretraining, too many for "
                f"Levenberg-Marquardt (at most {int(tuning.LM_NUMBERS**0.5)}): take fewer "
                "sub-networks, or solver='adam'."
            )
        return network
    most, most_weights = tuning.MOST_COMPOSED, tuning.MOST_WEIGHTS
    if classes:
        most, most_weights = tuning.MOST_OF_CLASSES
    sizes = [
        ComposedNetwork(n_features, size * n_levels, n_levels, n_outputs, shape)
        for size in range(most, 0, -1)
    ]
    # A row counts once for classes, and once for each output for other losses.
    enough_rows = n_samples * (1 if classes else n_outputs) // 2
    *larger, smallest = sizes
    for network in larger:
        if network.n_parameters <= min(most_weights, enough_rows):
            return network
    fits = smallest.n_parameters <= min(tuning.MOST_WEIGHTS_OF_ONE, 2 * enough_rows)
    return smallest if fits or settings.n_levels != "auto" else None


def _joint(settings: Settings) -> bool:
    """Return whether a loss or a shape prevents the elimination of coefficients."""
    return settings.shape is not None or not isinstance(settings.loss, SquaredError)
