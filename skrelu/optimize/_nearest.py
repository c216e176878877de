"""The nearest point of another class, and the proof that none is nearer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array, diags_array, hstack

from skrelu._export.graph import ReLUGraph
from skrelu.optimize._descend import N_STEPS, descended, sampled, within_cell
from skrelu.optimize._encode import Bounded
from skrelu.optimize._minimize import objective
from skrelu.optimize._program import INFEASIBLE, OPTIMAL, Array, Clock, Program
from skrelu.optimize._read import Domain
from skrelu.optimize._results import FOUND, OUT_OF_TIME
from skrelu.optimize._tighten import bounded_by_intervals, tightened

# How far beyond the border between two classes points are looked for, relative to the difference of
# logits at x: the next one is tried if the class is the same at the one before.
BEYOND = (1e-10, 1e-9, 1e-8)
# Samples from which the border is approached, and how they are drawn together around x.
N_NEAR, TOGETHER = 5, (1.0, 0.3, 0.1, 0.03)
# Halvings of a segment that meets the border.
N_HALVINGS = 50
# How much larger than the distance of the nearest point so far the box is.
ROOM = 1 + 1e-6
# Parts of that box that are looked at first if more than so many neurons may be on or off in it.
SHARES, MANY = (0.125, 0.25, 0.5), 40
# Factor of the constraints on class and distance, for which HiGHS's tolerances then matter less.
UP = 1e3
# How far to step into the next cell, relative to the last step.
STEP = 1e-6


class Nearest:
    """The nearest point of another class so far, and how it is found."""

    def __init__(
        self,
        class_of: Callable[[Array], int],
        x: Array,
        scale: Array,
        norm: float,
        domain: Domain,
        clock: Clock,
    ) -> None:
        self.class_of, self.x, self.scale, self.norm = class_of, x, scale, norm
        self.domain, self.clock = domain, clock
        self.own = class_of(x)
        self.best: Array | None = None
        self.radius = np.inf

    def keep(self, x: Array) -> bool:
        """Keep a point if its class is another one and it is nearer; return whether it is other."""
        if self.class_of(x) == self.own:
            return False
        radius = float(np.linalg.norm((x - self.x) / self.scale, self.norm))
        if radius < self.radius:
            self.best, self.radius = x, radius
        return True

    def approach(self, rival: list[ReLUGraph]) -> None:
        """Find near points of another class by samples, then by steps from cell to cell."""
        domain = self.domain
        graph, inputs = domain.graph(rival), domain.program()
        center = (self.x - domain.middle) / domain.half
        points = sampled(inputs)
        together = np.resize(TOGETHER, len(points))[:, None]
        points = center + together * (points - center)
        values = graph(points)[:, 0]
        order = np.argsort(
            np.linalg.norm((points - center) * domain.half / self.scale, self.norm, 1)
        )
        others = order[values[order] < 0]
        if not len(others):
            lowest = points[np.argmin(values)]
            points = descended(graph, np.ones(1), inputs, lowest, self.clock)[None]
            others = np.zeros(1, int)
        for i in others[:N_NEAR]:
            if graph(points[[i]])[0, 0] < 0:
                self.walk(graph, inputs, domain, self._halved(graph, center, points[i]))

    def _halved(self, graph: ReLUGraph, center: Array, point: Array) -> Array:
        """Return a point of the segment on or a little beyond the border."""
        inside, outside = 0.0, 1.0
        level = -BEYOND[0] * abs(float(graph(center[None])[0, 0]))
        for _ in range(N_HALVINGS):
            middle = (inside + outside) / 2
            if graph((center + middle * (point - center))[None])[0, 0] < level:
                outside = middle
            else:
                inside = middle
        return center + outside * (point - center)

    def walk(self, graph: ReLUGraph, inputs: Program, domain: Domain, point: Array) -> None:
        """Go to the nearest point of another class in a cell, and on to the next cell."""
        center = (self.x - domain.middle) / domain.half
        size = abs(float(graph(center[None])[0, 0])) or 1.0
        for beyond in BEYOND:
            at, nearest = point, np.inf
            for _ in range(N_STEPS):
                if self.clock.over(0.8):
                    return
                found = self._in_cell(graph, inputs, domain, at, beyond * size)
                if found is None or not found[0] < nearest * (1 - 1e-12):
                    break
                step, point, nearest = found[1] - point, found[1], found[0]
                at = np.clip(point + STEP * step, inputs.low, inputs.high)
            if self.keep(domain.to_x(point)):
                return

    def _in_cell(self, graph, inputs, domain, at, beyond) -> tuple[float, Array] | None:
        within, gradients, values = within_cell(graph, inputs, at)
        within = within.with_rows(gradients, -np.inf, -values[0] - beyond)
        program, cost = self._distances(within, domain)
        distance, point = program.relaxation().least(cost)
        if point is None:
            return None
        return distance, np.clip(point[: inputs.n_variables], inputs.low, inputs.high)

    def _distances(self, program: Program, domain: Domain) -> tuple[Program, Array]:
        """Return the program with variables for the distance from x, and that distance."""
        n, at = len(self.x), program.n_variables
        units = domain.half / self.scale
        center = (self.x - domain.middle) / domain.half * units
        most = float(np.linalg.norm((domain.high - domain.low) / self.scale, 1))
        n_more = 1 if self.norm == np.inf else n
        program = program.with_variables(np.zeros(n_more), np.full(n_more, most))
        sizes = np.ones((n, 1)) if self.norm == np.inf else np.eye(n)
        between = csr_array((n, at - n))
        for sign in (1.0, -1.0):
            rows = hstack([diags_array(sign * units), between, -csr_array(sizes)], format="csr")
            program = program.with_rows(rows * UP, -np.inf, sign * center * UP)
        return program, np.r_[np.zeros(at), np.ones(n_more)]

    def certify(self, rival: list[ReLUGraph], gap: float) -> tuple[int, float, int]:
        """Return status, lower bound of the distance of this class, and number of binaries."""
        whole = self._bounded(rival, 1.0)
        shares = SHARES if whole[1].n_unstable > MANY else ()
        certified, n_binaries = 0.0, 0
        for share in (*shares, 1.0):
            domain, bounded = self._bounded(rival, share) if share < 1 else whole
            status, bound, n = self._certify_box(domain, bounded, gap)
            n_binaries = max(n, n_binaries)
            reach = share * self.radius if self.best is not None else np.inf
            certified = max(certified, min(bound, reach))
            if status != FOUND or bound < reach:
                break
        return status, certified, n_binaries

    def _certify_box(self, domain: Domain, bounded: Bounded, gap: float) -> tuple[int, float, int]:
        """Return the same for distances within a box; infinity if none of this class is there."""
        cost, shift = objective(bounded)
        n_binaries, unit = bounded.n_unstable, self.radius if self.best is not None else 1.0
        row = csr_array(cost[None] * UP)
        program = bounded.mixed_integer().with_rows(row, -np.inf, -shift * UP)
        program, distance = self._distances(program, domain)
        least = program.relaxation().least(distance)[0]
        if least >= self.radius:
            return FOUND, np.inf, 0
        found = program.solve(distance / unit, gap / 2, 1.0, self.clock.left)
        if found.status == INFEASIBLE:
            return FOUND, np.inf, n_binaries
        if found.x is not None:
            n = len(self.x)
            point = np.clip(found.x[:n], bounded.inputs.low, bounded.inputs.high)
            self.walk(bounded.graph, bounded.inputs, domain, point)
        bound = max(least, found.bound * unit)
        return (FOUND if found.status == OPTIMAL else OUT_OF_TIME), bound, n_binaries

    def _bounded(self, rival: list[ReLUGraph], share: float) -> tuple[Domain, Bounded]:
        """Return the box of points within a share of the radius so far, and the network there."""
        domain = self.domain
        if self.best is not None:
            reach = share * self.radius * ROOM * self.scale
            low = np.maximum(domain.low, self.x - reach)
            high = np.minimum(domain.high, self.x + reach)
            domain = Domain.of(len(self.x), np.stack([low, high], 1), (), None)
        graph, inputs = domain.graph(rival), domain.program()
        center = (self.x - domain.middle) / domain.half
        size = float(graph(center[None])[0, 0]) or 1.0
        graph = graph.affine(np.array([1 / size]), np.zeros(1))
        bounded = bounded_by_intervals(graph, inputs)
        assert bounded is not None  # x is in the box
        return domain, tightened(bounded, self.clock)
