"""The fit of composed sub-networks, which read the outputs of earlier sub-networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._data.torch_interop import threads, to_tensor
from skrelu._fit import tuning
from skrelu._fit.averaging import EXACT, noise_of, shares_by, shares_of, standard_error_of
from skrelu._fit.blend import blended, raw_values
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._fit.refinement import refine
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._solvers.adam import adam
from skrelu._solvers.evidence import fit_by_evidence, geometric_mean
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.progress import Options, Patience, Progress, Result, Status
from skrelu._solvers.rows import Rows


def fit_composed(
    job: Job,
    plan: Plan,
    network: ComposedNetwork,
    looked: Look | None = None,
    n_starts: int | None = None,
) -> Fitted | None:
    """Fit composed sub-networks; None if many starts on one level should predict better.

    Parameters
    ----------
    looked : Look, optional
        A rough fit that found no noise, whose best start goes on. By default some starts are
        fitted roughly first where noise may be.
    n_starts : int, optional
        Number of starts that "auto" means.
    """
    settings, warm = job.settings, job.warm
    plan = replace(plan, solver="adam" if settings.solver == "adam" else "lm")
    automatic = n_starts or tuning.COMPOSED_STARTS
    n_starts = automatic if settings.n_init == "auto" else int(settings.n_init)
    hold_out = settings.early_stopping is True
    if settings.early_stopping == "auto" and (plan.loss.classes or settings.solver == "adam"):
        hold_out = plan.early_stopping  # networks are overconfident on training rows
    rows = job.rows(n_starts, hold_out, tuning.COMPOSED_ROWS)
    refining = settings.refine and settings.refine_max_iter != "auto"
    pretraining: Result | None = None
    refinement: Result | None = None
    before = None if warm is None else warm.pretrained_in(*job.scalings, job.device)
    if before is not None and warm is not None and refining:
        theta, relu = before, warm.network
        released = warm.relu_in(*job.scalings, job.device)
    else:
        plan, pretraining, rows = _pretrained_composed(job, plan, network, before, rows, looked)
        network = plan.composed or network
        if _given_up(job, plan, pretraining.error) and not pretraining.interrupted:
            return None
        plan, network, pretraining = _at_depth(job, plan, network, pretraining, rows)
        theta, error = pretraining.theta, pretraining.error
        relu, released = lowered_closely(network, theta, settings.depth, rows, error)
        refining = refining and not pretraining.interrupted
    plan, penalty = replace(plan, relu=relu), torch.zeros_like(released)

    def refined_so_far(result: Result) -> Fitted:
        weights = Weights(theta, result.theta, penalty)
        return job.fitted(
            plan, weights, shares_of(result), result.validation_loss, pretraining, result
        )

    if refining:
        options = job.options(
            plan.solver, "refinement", int(settings.refine_max_iter), refined_so_far, ()
        )
        with threads(len(released) * relu.n_parameters * rows.n_trained**2):
            refinement = refine(relu, released, rows, 0.0, penalty, options)
        released, error = refinement.theta, refinement.validation_loss
    weights = Weights(theta, released, penalty)
    return _averaged(job, plan, rows, weights, error, pretraining, refinement)


def _averaged(
    job: Job,
    plan: Plan,
    rows: Rows,
    weights: Weights,
    error: Tensor,
    pretraining: Result | None,
    refinement: Result | None,
) -> Fitted:
    """Return the average of all starts, blended with a linear model."""
    raw = raw_values(plan.relu, weights.relu, rows)
    standard_error = standard_error_of(rows, raw)
    if refinement is None:
        noise = 0.0
        if pretraining is not None and isinstance(rows.loss, SquaredError) and raw.shape[1] == 1:
            noise = noise_of(pretraining.loss, error)
        shares = shares_by(error, standard_error, noise)
    else:
        shares = shares_of(refinement, standard_error)
    fitted = job.fitted(plan, weights, shares, error, pretraining, refinement)
    kept = torch.from_numpy(shares.nonzero()[0])
    return blended(job, fitted, rows.of(kept), raw[kept])


@dataclass(frozen=True)
class Look:
    """A rough fit of a few starts, each of which holds rows out."""

    result: Result
    rows: Rows

    def held_out(self, network: ComposedNetwork) -> tuple[Tensor, Tensor]:
        """Return the raw values of all starts, and the weights of the rows that they hold out."""
        assert self.rows.validation is not None
        return network.forward(self.result.theta, self.rows.X), self.rows.validation

    def errors(self, network: ComposedNetwork) -> Tensor:
        """Return the held-out loss of each output, of the best start; (n_outputs,)."""
        raw, _ = self.held_out(network)
        if raw.shape[1] == 1:
            return self.result.error.amin()[None]
        starts = torch.arange(len(raw), device=raw.device)
        _, held_out = self.rows.losses(self.rows.values(raw, starts), slice(None), starts)
        return held_out[self.result.error.argmin()]


def look(job: Job, network: ComposedNetwork) -> Look:
    """Fit some starts roughly, until the targets turn out to be clean or all slow down.

    This does not affect a later fit: the generator does not change, and iterations are not
    reported.
    """
    apart = torch.Generator().set_state(job.generator.get_state())
    fraction = min(max(tuning.LOOK_HELD_OUT / len(job.training.X), 0.1), 1 / 3)
    settings = replace(job.settings, validation_fraction=fraction)
    job = replace(job, generator=apart, settings=settings)
    rows = job.rows(tuning.LOOK_STARTS, True, tuning.COMPOSED_ROWS)
    theta = network.random(tuning.LOOK_STARTS, apart).to(rows.X)
    return Look(_looked_for_noise(job, network, theta, rows, tuning.CLEAN), rows)


def go_on(job: Job, plan: Plan, network: ComposedNetwork, looked: Look, best: bool) -> Fitted:
    """Fit the starts of a look, or the best one, in single precision and with rows held out."""
    theta, rows = looked.result.theta, looked.rows
    if best:
        one = looked.result.error.argmin()[None]
        theta, rows = theta[one], rows.of(one)
    return _by_evidence(job, plan, network, theta, rows, torch.float32)


def on_all_rows(job: Job, plan: Plan, network: ComposedNetwork, fitted: Fitted) -> Fitted:
    """Continue a fit that has held rows out on all rows; what it predicts of these stays known."""
    theta = to_tensor(fitted.pretrained, job.device)
    rows = job.rows(len(theta), False, tuning.NOISY_ROWS)
    again = _by_evidence(job, plan, network, theta, rows, rows.X.dtype)
    assert again.pretraining is not None
    pretraining = again.pretraining.after(fitted.pretraining)
    return replace(again, left_out=fitted.left_out, rows=fitted.rows, pretraining=pretraining)


def _by_evidence(
    job: Job, plan: Plan, network: ComposedNetwork, theta: Tensor, rows: Rows, dtype: torch.dtype
) -> Fitted:
    """Fit all starts to the end, on at most `tuning.NOISY_ROWS`, and average them."""
    plan, part = replace(plan, solver="lm"), rows
    if rows.n_trained > tuning.NOISY_ROWS:
        kept = torch.randperm(rows.n_trained, generator=job.generator)[: tuning.NOISY_ROWS]
        part = rows.part(kept.to(rows.X.device))

    def so_far(result: Result) -> Fitted:
        relu, lowered = network.to_relu(result.theta, job.settings.depth)
        weights = Weights(result.theta, lowered, torch.zeros_like(lowered))
        shares, error = shares_of(result), result.validation_loss
        return job.fitted(replace(plan, relu=relu), weights, shares, error, result, None)

    options = job.options("lm", "pretraining", job.settings.max_iter, so_far)
    with threads(len(theta) * network.n_parameters**2 * part.n_trained):
        result = fit_by_evidence(
            network, theta.to(dtype), part.to(dtype), options, resumed=tuning.RESUMED
        )
    result = result.to(rows.X.dtype)
    plan, network, result = _at_depth(job, plan, network, result, part)
    relu, lowered = lowered_closely(network, result.theta, job.settings.depth, rows, result.error)
    weights = Weights(result.theta, lowered, torch.zeros_like(lowered))
    plan = replace(plan, relu=relu)
    return _averaged(job, plan, rows, weights, result.error, result, None)


def _pretrained_composed(
    job: Job,
    plan: Plan,
    network: ComposedNetwork,
    start: Tensor | None,
    rows: Rows,
    looked: Look | None,
) -> tuple[Plan, Result, Rows]:
    """Return the plan, pretrained networks, and the rows of their starts.

    The network of the plan may be wider than ``network``. Errors are held-out or estimated ones.
    """
    theta = network.random(len(rows.training), job.generator).to(rows.X)
    theta = theta if start is None else start
    rough = None if looked is None else looked.result
    if start is None and looked is None and _may_give_up(job, plan):
        rough = _looked_for_noise(job, network, theta, rows, plan.composed_noise)
        noisy = bool((rough.error > plan.composed_noise).all())
        if rough.interrupted or (noisy and rough.status is not Status.MAX_ITER):
            return plan, rough, rows.of(torch.arange(len(rough.error)))
    pretraining = _Pretraining(job, plan, network, rows, job.settings.max_iter)
    with threads(len(theta) * network.n_parameters**2 * pretraining.part.n_trained):
        if plan.solver == "adam":
            return plan, pretraining.by_adam(theta), rows
        if job.settings.n_init != "auto" or pretraining.max_iter <= tuning.SCREENING_ITER:
            starts = torch.arange(len(theta))
            resumed = None if start is None else tuning.RESUMED
            return plan, pretraining.finish(theta, starts, resumed), rows
        chosen = pretraining.choose(theta, rough)
    return chosen.plan, chosen.result, rows.of(chosen.starts)


def _at_depth(
    job: Job, plan: Plan, network: ComposedNetwork, result: Result, rows: Rows
) -> tuple[Plan, ComposedNetwork, Result]:
    """Fit sub-networks of a given depth, from their limit on, if the depth is given."""
    if not job.settings.exact_depth or network.shape is not None or result.interrupted:
        return plan, network, result
    network = replace(network, depth=job.settings.depth)
    plan = replace(plan, composed=network)
    pretraining = _Pretraining(job, plan, network, rows, job.settings.max_iter)
    with threads(len(result.theta) * network.n_parameters**2 * pretraining.part.n_trained):
        if plan.solver == "adam":
            at_depth = pretraining.by_adam(result.theta)
        else:
            starts = torch.arange(len(result.theta))
            at_depth = pretraining.finish(result.theta, starts, tuning.RESUMED)
    return plan, network, at_depth.after(result)


class _Pretraining:
    """The stages of pretraining: on a part of the rows if they are many, and then on all."""

    def __init__(
        self, job: Job, plan: Plan, network: ComposedNetwork, rows: Rows, max_iter: int
    ) -> None:
        self.job, self.plan, self.network, self.rows = job, plan, network, rows
        self.part, self.max_iter = rows, max_iter
        work = tuning.COMPOSED_WORK / network.n_parameters**2
        n_first = max(tuning.ROWS_A_WEIGHT * network.n_parameters, int(work))
        many = n_first < rows.n_trained and self.max_iter > tuning.ALL_ROWS_ITER
        self.ends_on_all = many and plan.solver == "lm"
        if self.ends_on_all:
            kept = torch.randperm(rows.n_trained, generator=job.generator)[:n_first]
            self.part = rows.part(kept.to(rows.X.device))
            self.max_iter -= tuning.ALL_ROWS_ITER

    def options(self, stage: str, max_iter: int) -> Options:
        """Return the options of a stage, whose results are lowered for callbacks."""

        def so_far(result: Result) -> Fitted:
            relu, lowered = self.network.to_relu(result.theta, self.job.settings.depth)
            weights = Weights(result.theta, lowered, torch.zeros_like(lowered))
            shares, error = shares_of(result), result.validation_loss
            plan = replace(self.plan, relu=relu)
            return self.job.fitted(plan, weights, shares, error, result, None)

        return self.job.options(self.plan.solver, stage, max_iter, so_far, self._then())

    def _then(self) -> tuple[str, ...] | None:
        """Return the stages that may follow pretraining by Adam; those of "lm" are unknown."""
        if self.plan.solver != "adam":
            return None
        settings, network = self.job.settings, self.network
        limited = settings.exact_depth and network.shape is None and network.depth is None
        refined = settings.refine and settings.refine_max_iter != "auto"
        return ("pretraining",) * limited + ("refinement",) * refined

    def by_adam(self, theta: Tensor) -> Result:
        """Fit all starts by Adam, with a ridge penalty on all weights but the intercepts."""
        network, penalty = self.network, torch.ones_like(theta)
        penalty[:, -network.n_outputs :] = 0
        options = self.options("pretraining", self.max_iter)
        bounds = network.bounds(theta)
        return adam(network, theta, self.rows, self.job.alpha, penalty, options, bounds)

    def fit(
        self, theta: Tensor, rows: Rows, stage: str, max_iter: int, resumed: float | None
    ) -> Result:
        """Fit some starts by evidence; ``resumed`` as for `fit_by_evidence`."""
        options = replace(self.options(stage, max_iter), enough=tuning.COMPOSED_EXACT)
        return fit_by_evidence(self.network, theta, rows, options, resumed=resumed)

    def on_part(self, theta: Tensor, starts: Tensor, resumed: float | None) -> Result:
        """Fit some starts to the end on part of the rows."""
        return self.fit(theta, self.part.of(starts), "pretraining", self.max_iter, resumed)

    def on_all(self, result: Result, starts: Tensor) -> Result:
        """Go on with all rows, if only part of them were fitted."""
        if not self.ends_on_all or result.interrupted:
            return result
        stage, rows = "pretraining on all rows", self.rows.of(starts)
        last = self.fit(result.theta, rows, stage, tuning.ALL_ROWS_ITER, tuning.RESUMED)
        # So few iterations need not converge, and are no reason for a warning.
        status = last.status if last.interrupted else result.status
        return replace(last.after(result), status=status)

    def finish(self, theta: Tensor, starts: Tensor, resumed: float | None) -> Result:
        """Fit some starts to the end."""
        return self.on_all(self.on_part(theta, starts, resumed), starts)

    def wider(self, max_iter: int) -> _Pretraining | None:
        """Return the stages of a wider network, None if rows or iterations are too few for one."""
        n, n_levels = self.network.n_subnetworks, self.network.n_levels
        most = min(tuning.WIDER_WEIGHTS, self.rows.n_trained // tuning.ROWS_A_WIDER_WEIGHT)
        for n_more in range(tuning.WIDER_BY, 0, -1):
            network = replace(self.network, n_subnetworks=n + n_more * n_levels)
            if network.n_parameters <= most and max_iter > tuning.ALL_ROWS_ITER:
                plan = replace(self.plan, composed=network)
                return _Pretraining(self.job, plan, network, self.rows, max_iter)
        return None

    def choose(self, theta: Tensor, rough: Result | None) -> _Chosen:
        """Fit the best start to the end, and the others if it leaves much.

        If it leaves little and rows are many, a wider network goes on from there.

        Parameters
        ----------
        theta : Tensor of shape (n_starts, n_parameters)
        rough : Result or None
            Of a rough fit of the first starts. Without it, all starts are fitted briefly.
        """
        screened = None
        if rough is None:
            rough = screened = self.fit(theta, self.part, "screening", tuning.SCREENING_ITER, None)
            self.max_iter -= tuning.SCREENING_ITER
        theta = torch.cat([rough.theta, theta[len(rough.theta) :]])
        kept, others = rough.error.argsort()[:1].cpu(), torch.arange(len(theta))
        if screened is not None and screened.interrupted:
            return _Chosen(self.plan, screened.take(kept), kept)
        result = self.on_part(theta[kept], kept, tuning.RESUMED).after(screened)
        if bool(result.error <= tuning.COMPOSED_AVERAGE) and not self.plan.loss.classes:
            return self._widened(result, kept)
        result = self.on_all(result, kept)
        # Few held-out rows may all be in the right class by chance.
        limited = self.plan.loss.classes or bool(result.error > tuning.COMPOSED_AVERAGE)
        if limited and not _given_up(self.job, self.plan, result.error) and not result.interrupted:
            others = others[others != kept]
            begun = others < len(rough.theta)
            for more, resumed in ((others[begun], tuning.RESUMED), (others[~begun], None)):
                if len(more) and not result.interrupted:
                    result = result.beside(self.finish(theta[more], more, resumed))
                    kept = torch.cat([kept, more])
        return _Chosen(self.plan, result, kept)

    def _widened(self, result: Result, kept: Tensor) -> _Chosen:
        """Go on with a wider network if rows are many, and with all rows."""
        settings, wider = self.job.settings, None
        learns = bool(result.error > tuning.WIDER_ABOVE) and not result.interrupted
        if settings.n_subnetworks == "auto" and learns:
            wider = self.wider(min(tuning.WIDER_ITER, settings.max_iter - result.n_iter))
        if wider is None:
            return _Chosen(self.plan, self.on_all(result, kept), kept)
        n_more = wider.network.levels[0] - self.network.levels[0]
        _, theta = self.network.widened(result.theta, n_more, self.job.generator)
        last = wider.finish(theta, kept, tuning.WIDER_DAMPING)
        # These iterations need not converge, either.
        status = last.status if last.interrupted else result.status
        return _Chosen(wider.plan, replace(last.after(result), status=status), kept)


class _Chosen(NamedTuple):
    """The plan, the results and the indices of the starts that are kept."""

    plan: Plan
    result: Result
    starts: Tensor


class _LookEnds:
    """Ends a rough fit if an error falls to ``enough``, or if all slow down above it."""

    def __init__(self, enough: float) -> None:
        self.enough = enough
        self.patience: Patience | None = None
        self.slow = torch.tensor(False)

    def __call__(self, progress: Progress) -> bool:
        """Record an iteration, and return whether to end."""
        if self.patience is None:
            self.patience = Patience.from_now(*tuning.LOOK_SLOW, progress.watched)
            return False
        self.patience = self.patience.after(progress.watched, progress.taken)
        self.slow = self.slow | (self.patience.over & (progress.best < tuning.LOOK_BEGUN))
        found = progress.best <= self.enough
        return bool(found.any() or (self.slow | progress.ended).all())


def _looked_for_noise(
    job: Job, network: ComposedNetwork, theta: Tensor, rows: Rows, enough: float
) -> Result:
    """Fit some starts roughly: to part of the rows, in single precision, until they slow down.

    This does not affect a later fit: the generator does not change, and iterations are not
    reported.
    """
    work = network.n_parameters**2
    n_rows = max(2 * network.n_parameters, int(tuning.LOOK_WORK / work))
    rows = rows.of(torch.arange(tuning.LOOK_STARTS)).to(torch.float32)
    if n_rows < rows.n_trained:
        generator = torch.Generator().set_state(job.generator.get_state())
        kept = torch.randperm(rows.n_trained, generator=generator)[:n_rows]
        rows = rows.part(kept.to(rows.X.device))
    options = replace(
        job.options("lm", "looking for noise", tuning.LOOK_ITER), report=_LookEnds(enough)
    )
    with job.step("looking for noise") as step, threads(tuning.LOOK_STARTS * work * rows.n_trained):
        result = fit_by_evidence(network, theta[: tuning.LOOK_STARTS].float(), rows, options)
        step.n_iter, step.error = result.n_iter, float(result.error.amin())
    return result.to(theta.dtype)


def _may_give_up(job: Job, plan: Plan) -> bool:
    """Return whether many starts on one level may be fitted instead; classes get both fits."""
    small = job.settings.n_levels == "auto" and len(job.training.X) <= tuning.COMPOSED_ROWS
    return small and plan.n_starts >= tuning.MANY_STARTS and not plan.loss.classes


def _given_up(job: Job, plan: Plan, error: Tensor) -> bool:
    """Return whether many starts on one level should predict better."""
    return _may_give_up(job, plan) and bool(error.median() > plan.composed_noise)


def lowered_closely(
    network: ComposedNetwork, theta: Tensor, depth: int, rows: Rows, error: Tensor
) -> tuple[ReLUNetwork, Tensor]:
    """Lower composed sub-networks, with more layers if fewer would add too much error."""
    some = slice(None, None, -(-rows.n_samples // tuning.LOWERED_ROWS))
    X = rows.X[:, some]  # training rows and held-out rows
    limit, most = network.forward(theta, X), tuning.LOWERING_LOSS * error[:, None]
    if limit.shape[1] > 1 and isinstance(rows.loss, SquaredError):  # in proportion to the residuals
        residual = (limit - rows.y[:, some]).square().mean(-1) + EXACT
        most = most * residual / geometric_mean(residual)[:, None]
    for more in range(tuning.MOST_LAYERS_MORE + 1):
        relu, lowered = network.to_relu(theta, depth + more)
        loss = (relu.forward(lowered, X) - limit).square().mean(-1)  # (n_starts, n_outputs)
        loss = loss if most.shape[1] > 1 else loss.mean(-1, keepdim=True)
        if bool((loss <= most).all()):
            break
    return relu, lowered
