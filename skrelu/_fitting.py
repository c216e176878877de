"""The fit as a function on arrays: pretrain, lower, refine, average.

The estimators validate and store; everything in between is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skrelu._composed_network import ComposedNetwork
from skrelu._evidence import fit_by_evidence
from skrelu._fitted import Array, Fitted, Table, pretrained_moved, relu_moved
from skrelu._plan import Plan, Settings, make_plan
from skrelu._pretraining import Pretrained, pretrain, with_coefficients
from skrelu._refinement import refine, refine_in_limit, released_penalty
from skrelu._relu_network import ReLUNetwork
from skrelu._rows import Rows
from skrelu._scaling import Scaling
from skrelu._solvers import Options, Progress, Result, Status
from skrelu._torch_interop import threads, to_numpy, to_tensor

# Takes a stage's name, how far it is and, where there is one, a function that returns the
# network as it is then; tells whether to end the stage.
Report = Callable[[str, Progress, Callable[[], Fitted] | None], bool]

# Pretraining without held-out rows that refinement follows ends when the loss falls by less
# than this fraction over so many iterations: going on gained nothing.
EARLY_END = (0.1, 10)
# Where so much of the variance of held-out rows is left after pretraining, refinement did
# not improve predictions (boston, auto_mpg, diabetes), at 5 to 10 times the time.
NOISE = 0.01
# Dampings tried at once while the equations are that small.
REFINEMENT_TRIALS, TRIALS_WORK = (0.01, 0.1, 1.0, 10.0), 5e8
# Branches of a single start, see `refine_in_limit`, likewise; several starts share them.
N_BRANCHES = 4
# A start whose validation loss is so many times the median has gone wrong.
FAILURE = 3.0
EXACT = 1e-24  # losses below are alike
# Composed sub-networks: starts by default, and iterations after which the best goes on alone.
COMPOSED_STARTS, SCREENING_ITER = 6, 12
# Most rows that train them, and multiplications of an iteration above which a random part of
# the rows trains first, all then for so many iterations.
COMPOSED_ROWS, COMPOSED_WORK, ALL_ROWS_ITER = 20_000, 3e8, 15
# Estimated errors below need no better fit. Lowering may add so much of the estimated error, as
# seen on so many rows, before sub-networks get more layers, and pairs of layers at most.
EXACT_ENOUGH = 1e-10
LOWERING_LOSS, LOWERED_ROWS, MOST_LAYERS_MORE = 0.05, 2000, 8
# The other starts are fitted to the end, too, and averaged where the best one leaves more of
# the variance of other rows: noise, or a target that is hard to fit.
COMPOSED_AVERAGE = 1e-3
# They are given up for an average of many starts on one level where they seem to leave more of
# the variance of other rows; not on larger tables, where that would take minutes.
COMPOSED_NOISE = 0.03


def fit_network(
    training: Table,
    validation: Table | None,
    settings: Settings,
    *,
    warm: Fitted | None,
    device: torch.device,
    generator: torch.Generator,
    report: Report | None = None,
) -> Fitted:
    """Fit a sum of sub-networks to a table.

    Parameters
    ----------
    training, validation : Table
        Without a validation table, rows of the training table are held out if the plan
        asks for early stopping: other rows for each start.
    settings : Settings
    warm : Fitted or None
        A network to go on from.
    device : torch.device
    generator : torch.Generator
    report : callable, optional
        Called at the start of each stage and after each iteration, see `Report`.

    Returns
    -------
    Fitted
    """
    if warm is not None:
        if settings.n_subnetworks == "auto":
            settings = replace(settings, n_subnetworks=warm.plan.n_subnetworks)
        if settings.n_levels == "auto":
            settings = replace(settings, n_levels=warm.plan.n_levels)
        settings = replace(settings, n_init=len(warm.relu))
    plan = make_plan(settings, len(training.X), training.X.shape[1], training.y.shape[1])
    if warm is not None:
        if plan.described() != warm.plan.described():
            raise ValueError(
                f"warm_start=True goes on from a fit with {warm.plan.described()}, but now there "
                f"are {plan.described()}. Keep these, or set warm_start=False to start anew."
            )
        triangles = replace(plan.triangles, n_free_peaks=warm.plan.triangles.n_free_peaks)
        plan = replace(plan, triangles=triangles)
    job = _Job(training, validation, settings, warm, device, generator, report)
    if plan.composed is not None:
        fitted = job.fit_composed(plan, plan.composed)
        if fitted is not None:
            return fitted
        plan = replace(plan, composed=None)
    return job.fit_on_one_level(plan)


@dataclass(frozen=True)
class _Job:
    """What all ways to fit need, see `fit_network`."""

    training: Table
    validation: Table | None
    settings: Settings
    warm: Fitted | None
    device: torch.device
    generator: torch.Generator
    report: Report | None

    def options(
        self,
        solver: str,
        stage: str,
        max_iter: int,
        fitted: Callable[[Result], Fitted] | None = None,
    ) -> Options:
        """Return the options of a stage, with a function that tells what it has led to."""

        def report(progress: Progress) -> bool:
            assert self.report is not None
            if fitted is None:
                return self.report(stage, progress, None)
            return self.report(stage, progress, lambda: fitted(progress.result(Status.MAX_ITER)))

        settings, n_rows = self.settings, len(self.training.X)
        batch_size = settings.batch_size
        if batch_size == "auto":
            batch_size = max(200, n_rows // 500)
        return Options(
            solver=solver,
            max_iter=max_iter,
            tol=settings.tol,
            patience=settings.n_iter_no_change,
            learning_rate=settings.learning_rate,
            batch_size=min(int(batch_size), n_rows),
            generator=self.generator,
            report=None if self.report is None else report,
        )

    @cached_property
    def scalings(self) -> tuple[Scaling, Scaling]:
        """Return the standardization of X and of y."""
        X, y, weights = self.training.X, self.training.y, self.training.weights
        return Scaling.of(X, weights), Scaling.of(y, weights)

    def rows(self, n_starts: int, hold_out: bool, most: int) -> Rows:
        """Standardize the tables and weigh training and held-out rows for each start.

        Of more than ``most`` training rows a random part is taken.
        """
        training, validation, scalings = self.training, self.validation, self.scalings
        if len(training.X) > most:
            kept = torch.randperm(len(training.X), generator=self.generator)[:most].numpy()
            weights = training.weights[kept]
            training = Table(training.X[kept], training.y[kept], weights / weights.sum())
        X, y = scalings[0].apply(training.X), scalings[1].apply(training.y)
        n, held_out = len(X), None
        weights = np.tile(training.weights, (n_starts, 1))
        if validation is not None:
            X = np.concatenate([X, scalings[0].apply(validation.X)])
            y = np.concatenate([y, scalings[1].apply(validation.y)])
            held_out = np.concatenate([np.zeros(n), validation.weights])
            held_out = np.tile(held_out, (n_starts, 1))
            weights = np.pad(weights, [(0, 0), (0, len(validation.X))])
        elif hold_out:
            folds = _folds(n, n_starts, self.settings.validation_fraction, self.generator)
            held_out = weights * folds
            weights = weights * ~folds
            held_out /= held_out.sum(1, keepdims=True)
        weights /= weights.sum(1, keepdims=True)
        return Rows(
            X=to_tensor(X.T, self.device),
            y=to_tensor(y.T, self.device),
            training=to_tensor(weights, self.device),
            validation=None if held_out is None else to_tensor(held_out, self.device),
            n_trained=n,
        )

    def fit_composed(self, plan: Plan, network: ComposedNetwork) -> Fitted | None:
        """Fit composed sub-networks; None where many starts on one level should do better."""
        settings, warm, scalings = self.settings, self.warm, self.scalings
        n_starts = COMPOSED_STARTS if settings.n_init == "auto" else int(settings.n_init)
        hold_out = settings.early_stopping is True
        rows = self.rows(n_starts, hold_out, COMPOSED_ROWS)
        refining = settings.refine and settings.refine_max_iter != "auto"
        pretraining: Result | None = None
        refinement: Result | None = None
        if warm is not None and refining:
            theta = to_tensor(pretrained_moved(warm, *scalings), self.device)
            relu, released = warm.plan.relu, relu_moved(warm, *scalings, self.device)
        else:
            start = None
            if warm is not None:
                start = to_tensor(pretrained_moved(warm, *scalings), self.device)
            pretraining, error, rows = self._pretrained_composed(plan, network, start, rows)
            ended = _interrupted(pretraining)
            if self._given_up(error) and not ended:
                return None
            theta = pretraining.theta
            relu, released = _lowered(network, theta, settings.depth, rows, error)
            shares = _shares(error)
            refining = refining and not ended
        plan, penalty = replace(plan, relu=relu, solver="lm"), torch.zeros_like(released)

        def refined_so_far(result: Result) -> Fitted:
            shares = _shares_of(result)
            return self._fitted(plan, theta, result.theta, penalty, shares, pretraining, result)

        if refining:
            options = self.options(
                "lm", "refinement", int(settings.refine_max_iter), refined_so_far
            )
            with threads(len(released) * relu.n_parameters * rows.n_trained**2):
                refinement = refine(relu, released, rows, 0.0, penalty, options)
            released, shares = refinement.theta, _shares_of(refinement)
        return self._fitted(plan, theta, released, penalty, shares, pretraining, refinement)

    def _given_up(self, error: Tensor) -> bool:
        """Tell whether many starts on one level should predict better."""
        small = self.settings.n_levels == "auto" and len(self.training.X) <= COMPOSED_ROWS
        return small and bool(error.median() > COMPOSED_NOISE)

    def _pretrained_composed(
        self, plan: Plan, network: ComposedNetwork, start: Tensor | None, rows: Rows
    ) -> tuple[Result, Tensor, Rows]:
        """Return composed networks, their errors (on held-out rows or estimated) and rows."""
        settings = self.settings
        max_iter, work = settings.max_iter, network.n_parameters**2
        n_first = max(2 * network.n_parameters, int(COMPOSED_WORK / work))
        theta = network.random(len(rows.training), self.generator).to(rows.X)
        theta = theta if start is None else start
        fit = partial(fit_by_evidence, network, floor=EXACT_ENOUGH)

        def so_far(result: Result) -> Fitted:
            relu, lowered = network.to_relu(result.theta, settings.depth)
            now, penalty = replace(plan, relu=relu, solver="lm"), torch.zeros_like(lowered)
            return self._fitted(
                now, result.theta, lowered, penalty, _shares_of(result), result, None
            )

        part, ends_on_all = rows, n_first < rows.n_trained and max_iter > ALL_ROWS_ITER
        if ends_on_all:
            kept = torch.randperm(rows.n_trained, generator=self.generator)[:n_first]
            part, max_iter = rows.part(kept.to(rows.X.device)), max_iter - ALL_ROWS_ITER

        def finish(theta: Tensor, starts: Tensor, max_iter: int) -> tuple[Result, Tensor]:
            options = self.options("lm", "pretraining", max_iter, so_far)
            result, error = fit(theta, part.of(starts), options)
            if ends_on_all and not _interrupted(result):
                options = self.options("lm", "pretraining on all rows", ALL_ROWS_ITER, so_far)
                last, error = fit(result.theta, rows.of(starts), options)
                # Too few iterations to converge in are no reason to warn.
                status = last.status if _interrupted(last) else result.status
                result = replace(last.after(result), status=status)
            return result, error

        with threads(len(theta) * work * part.n_trained):
            if settings.n_init != "auto" or max_iter <= SCREENING_ITER:
                return *finish(theta, torch.arange(len(theta)), max_iter), rows
            options = self.options("lm", "screening", SCREENING_ITER, so_far)
            screened, error = fit(theta, part, options)
            kept, others = error.argsort().split([1, len(error) - 1])
            max_iter -= SCREENING_ITER
            result, error = screened.take(kept), error[kept]
            if not _interrupted(screened):
                result, error = finish(result.theta, kept, max_iter)
                result = result.after(screened)
            limited = bool(error > COMPOSED_AVERAGE) and not self._given_up(error)
            if limited and not _interrupted(result):
                more, errors = finish(screened.theta[others], others, max_iter)
                result, error = result.beside(more), torch.cat([error, errors])
                kept = torch.cat([kept, others])
        return result, error, rows.of(kept)

    def fit_on_one_level(self, plan: Plan) -> Fitted:
        """Pretrain triangle waves, refine the lowered network."""
        settings, warm, scalings = self.settings, self.warm, self.scalings
        n_rows = len(self.training.X)
        rows = self.rows(plan.n_starts, plan.early_stopping, n_rows)
        pretraining: Result | None = None
        refinement: Result | None = None
        ended = plan.max_refinement == 0
        trials = REFINEMENT_TRIALS if plan.refinement_work < TRIALS_WORK else (1.0,)

        def pretrained_so_far(result: Result) -> Fitted:
            waves, coef = with_coefficients(plan.triangles, rows, result)
            _, lowered = plan.triangles.to_relu(waves, coef)
            penalty, shares = torch.zeros_like(lowered), _shares_of(result)
            return self._fitted(plan, waves, lowered, penalty, shares, result, None)

        def refined_so_far(result: Result) -> Fitted:
            shares = _shares_of(result)
            return self._fitted(plan, triangles, result.theta, penalty, shares, pretraining, result)

        left = plan.max_refinement
        if warm is not None and not ended:
            triangles = to_tensor(pretrained_moved(warm, *scalings), self.device)
            theta = relu_moved(warm, *scalings, self.device)
            penalty = to_tensor(warm.penalty, self.device)
        else:
            start = None
            if warm is not None:
                start = to_tensor(pretrained_moved(warm, *scalings), self.device)
            first = self.options(plan.solver, "pretraining", settings.max_iter, pretrained_so_far)
            first = _pretraining_options(first, plan, rows)
            with threads(plan.pretraining_work):
                pretrained = pretrain(plan.triangles, rows, start, settings.alpha, first)
            pretraining, triangles = pretrained.result, pretrained.result.theta
            _, theta = plan.triangles.to_relu(triangles, pretrained.coef)
            penalty = released_penalty(plan.relu, theta, pretrained.coef, pretrained.variance)
            automatic = settings.refine_max_iter == "auto"
            noisy = automatic and _noisy(pretraining)
            ended = ended or _interrupted(pretraining) or (noisy and not plan.in_limit)
            if plan.in_limit and not ended:
                with threads(plan.refinement_work):
                    options = replace(self.options(plan.solver, "limit", left), trials=trials)
                    refinement, *unfolded = _refined_in_limit(
                        plan, pretrained, rows, settings.alpha, options
                    )
                noisy = automatic and _noisy(refinement) and not _improved(refinement, pretraining)
                ended = noisy or _interrupted(refinement)
                if not ended:
                    theta, penalty = unfolded
                    left -= refinement.n_iter
        last = pretraining
        if not ended:
            with threads(plan.refinement_work):
                options = self.options(plan.solver, "refinement", left, refined_so_far)
                options = replace(options, trials=trials)
                last = refine(plan.relu, theta, rows, settings.alpha, penalty, options)
            theta, refinement = last.theta, last.after(refinement)
        assert last is not None  # a warm start refines, any other pretrains
        shares = _shares_of(last)
        return self._fitted(plan, triangles, theta, penalty, shares, pretraining, refinement)

    def _fitted(
        self,
        plan: Plan,
        pretrained: Tensor,
        relu: Tensor,
        penalty: Tensor,
        shares: Array,
        pretraining: Result | None,
        refinement: Result | None,
    ) -> Fitted:
        kept = torch.from_numpy(shares.nonzero()[0]).to(self.device)
        return Fitted(
            *self.scalings,
            to_numpy(pretrained[kept]),
            to_numpy(relu[kept]),
            to_numpy(penalty[kept]),
            shares[shares > 0],
            plan,
            pretraining,
            refinement,
        )


def _pretraining_options(options: Options, plan: Plan, rows: Rows) -> Options:
    """Return when to stop pretraining: earlier where refinement decides how good it gets."""
    if plan.max_refinement == 0 or plan.solver != "lm" or rows.validation is not None:
        return options
    tol, patience = EARLY_END
    return replace(options, tol=max(tol, options.tol), patience=min(patience, options.patience))


def _refined_in_limit(
    plan: Plan, pretrained: Pretrained, rows: Rows, alpha: float, options: Options
) -> tuple[Result, Tensor, Tensor]:
    """Lower pretrained triangle waves to the limit of infinite depth and refine there."""
    network, theta = plan.triangles.to_parabolic(pretrained.result.theta, pretrained.coef)
    first = theta[:, : network.relu.n_parameters]
    penalty = released_penalty(network.relu, first, pretrained.coef, pretrained.variance)
    n_branches = max(1, N_BRANCHES // plan.n_starts) if len(options.trials) > 1 else 1
    return refine_in_limit(
        network, theta, plan.relu.depth, rows, alpha, penalty, options, n_branches
    )


def _lowered(
    network: ComposedNetwork, theta: Tensor, depth: int, rows: Rows, error: Tensor
) -> tuple[ReLUNetwork, Tensor]:
    """Lower composed sub-networks with as many layers as it takes to lose nothing by it."""
    X = rows.X[:, :: -(-rows.n_samples // LOWERED_ROWS)]  # they are sorted
    limit = network.forward(theta, X)
    for more in range(MOST_LAYERS_MORE + 1):
        relu, lowered = network.to_relu(theta, depth + more)
        loss = (relu.forward(lowered, X) - limit).square().mean((-1, -2))
        if bool((loss <= LOWERING_LOSS * error).all()):
            break
    return relu, lowered


def _interrupted(result: Result) -> bool:
    return result.status is Status.INTERRUPTED


def _noisy(result: Result) -> bool:
    """Tell whether much of the variance of held-out rows is left; not without such rows."""
    return bool(result.validation_loss.median() > NOISE)  # False for NaN


def _improved(result: Result, earlier: Result) -> bool:
    """Tell whether held-out rows are met much better than before."""
    return bool(result.validation_loss.median() < earlier.validation_loss.median() / 2)


def _folds(
    n_samples: int, n_starts: int, fraction: float, generator: torch.Generator
) -> NDArray[np.bool_]:
    """Mark the rows that each start holds out: disjoint ones as long as rows last."""
    size = min(max(1, round(fraction * n_samples)), n_samples - 1)
    folds = np.zeros((n_starts, n_samples), bool)
    order = np.empty(0, np.int64)
    for fold in folds:
        if len(order) < size:
            order = torch.randperm(n_samples, generator=generator).numpy()
        fold[order[:size]] = True
        order = order[size:]
    return folds


def _shares_of(result: Result) -> Array:
    """Return the share of each start in the average that is the model; they sum to 1.

    Without held-out rows, the start with the lowest training loss is the model.
    """
    if not result.validation_loss.isnan().all():
        return _shares(result.validation_loss)
    loss = to_numpy(result.loss)
    return (np.arange(len(loss)) == np.nanargmin(loss)).astype(float)


def _shares(error: Tensor) -> Array:
    """Return shares that go with the inverse of errors on other rows.

    The best average of estimates with independent errors has them so, but failures get none.
    """
    loss = to_numpy(error)
    shares = np.where(loss <= FAILURE * np.nanmedian(loss), 1 / (loss + EXACT), 0.0)
    if not shares.any():  # no start has taken a step
        shares = np.ones_like(shares)
    return shares / shares.sum()
