r"""Cells into which neurons divide a cube of many dimensions, held by inequalities.

As in `_cells`, but a cell has too many vertices there. It is held as the set where all
:math:`n_i^T u + c_i \ge 0`, with :math:`2 d` such walls around the cube and one for each neuron
that divided it, and by some points of it. A neuron :math:`a^T u + b` that takes both signs at these
points divides the cell. For each sign that it does not take, unless
:math:`b \pm \lVert a \rVert_1` says that it cannot within the cube, a linear program,

.. math::
    \max_u \; \pm (a^T u + b) \quad \text{where all} \quad n_i^T u + c_i \ge 0,

decides, and its solution is one more point. So that few programs are needed, points are spread
to the ends of the cell: paths begin within, lead in random directions and in those in which neurons
to come change most, and go on along each wall that they meet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import norm
from scipy.optimize import linprog

from skrelu.regions._cells import Indices, added_up, between, n_to_come, place_of, reach_of
from skrelu.regions._checks import Array
from skrelu.regions._layers import Layers
from skrelu.regions._line import ROUNDING, TIE

# Linear programs are solved to 1e-7, so what they find below this, relative, is zero.
FLAT = 1e-6
# Points of a polytope that are held at most; of these, new ones between others and in random
# directions; and legs on the way to each.
MAX_POOL = 256
N_POOL = 32
N_LEGS = 4


@dataclass
class _Polytope:
    """One cell, and what the layer of the next neuron adds up on it."""

    walls: Array  # (n_walls, d + 1): slopes, of length 1, and intercepts; the cube's come first
    pool: Array  # (n_points, d)
    maps: Array  # (width, d + 1): what a layer adds up, as slopes and intercept
    floors: Array  # (width,): values below are zero but for rounding
    active: list[bool]  # neurons of the layer so far

    def halves(self, rng: np.random.RandomState) -> list[_Polytope]:
        """Return the parts of either sign of the next neuron, or the whole where it has one."""
        place = len(self.active)
        slope, intercept = self.maps[place, :-1], self.maps[place, -1]
        small = max(self.floors[place], FLAT * norm(slope))
        bound = np.abs(slope).sum()  # of the slope's part, within the cube
        for sign in (1, -1):
            most = (sign * (self.pool @ slope + intercept)).max()
            if most <= small < sign * intercept + bound:
                self.pool = np.concatenate([self.pool, self._farthest(sign * slope)])
        values = self.pool @ slope + intercept
        positive = bool(values.max() > small)
        if not positive or values.min() >= -small:
            self.active.append(positive)
            return [self]
        # Points where the neuron vanishes, between pairs of opposite sign, are of both parts.
        up, down = (rng.permutation(np.flatnonzero(sign * values > 0)) for sign in (1, -1))
        n_cuts = min(N_POOL, len(up) * len(down))
        cuts = between(self.pool, values, np.resize(up, n_cuts), np.resize(down, n_cuts))
        parts = []
        for sign in (1, -1):
            wall = sign * self.maps[place] / norm(slope)
            part = replace(
                self,
                walls=np.concatenate([self.walls, wall[None]]),
                pool=np.concatenate([self.pool[sign * values > 0], cuts]),
                active=[*self.active, sign > 0],
            )
            part.pool = np.concatenate([part._far_points(rng), part.pool])[:MAX_POOL]
            parts.append(part)
        return parts

    def _far_points(self, rng: np.random.RandomState) -> Array:
        """Go from within as far as can be, turn at the wall, and so on, (n_points, d)."""
        normals, intercepts = self.walls[:, :-1], self.walls[:, -1]
        slopes = self.maps[len(self.active) :, :-1][:N_POOL]
        steps = np.concatenate([rng.normal(size=(N_POOL, normals.shape[1])), slopes, -slopes])
        at = np.broadcast_to(self.pool.mean(0), steps.shape)
        for _ in range(N_LEGS):
            rates = steps @ normals.T  # (n_points, n_walls)
            room = (at @ normals.T + intercepts).clip(0)
            lengths = np.full_like(rates, np.inf)
            np.divide(room, -rates, out=lengths, where=rates < -TIE)
            wall, length = lengths.argmin(1), lengths.min(1, keepdims=True)
            met = np.isfinite(length)  # not by steps of length zero
            rate = np.take_along_axis(rates, wall[:, None], 1)
            # Short of the wall, so that rounding leaves points inside.
            at = at + 0.999 * np.where(met, length, 0) * steps
            steps = steps - np.where(met, rate, 0) * normals[wall]
        return at

    def _farthest(self, slope: Array) -> Array:
        """Return a point of greatest ``slope @ u``, (1, d), or none where rounding leaves none."""
        d = len(slope)
        solution = linprog(
            -slope / norm(slope),
            A_ub=-self.walls[2 * d :, :-1],
            b_ub=self.walls[2 * d :, -1],
            bounds=(-1, 1),
            method="highs",
        )
        return np.zeros((0, d)) if solution.x is None else solution.x[None]


@dataclass
class Polytopes:
    """Cells held by inequalities, divided by the neurons of a network before some neuron."""

    layers: Layers
    reach: Array  # (d + 1,): see `reach_of`
    neuron: int  # the next
    cells: list[_Polytope]
    rng: np.random.RandomState

    @classmethod
    def cube(cls, layers: Layers, offsets: Array, rng: np.random.RandomState) -> Polytopes:
        """Return the cube, not divided yet; `offsets` as for `reach_of`."""
        d = layers.n_features
        pool = rng.uniform(-1, 1, size=(N_POOL, d))
        inputs = np.eye(d, d + 1)
        walls = np.concatenate([inputs, -inputs])
        walls[:, -1] = 1
        whole = _Polytope(walls, pool, inputs, np.zeros(0), [])
        return cls(layers, reach_of(offsets), 0, [whole], rng)

    @staticmethod
    def bytes_each(layers: Layers) -> int:
        """Return about how much memory a cell takes."""
        d = layers.n_features
        n_walls = 2 * d + layers.n_neurons
        return 8 * (d + 1) * (n_walls + 2 * MAX_POOL + layers.largest) + 8 * MAX_POOL * n_walls

    def take(self, cells: Indices) -> Polytopes:
        """Return some of the cells."""
        return replace(self, cells=[self.cells[i] for i in cells])

    def n_to_come(self) -> Indices:
        """Count the neurons from the next on that change sign between known points of each cell."""
        sizes = np.array([len(cell.pool) for cell in self.cells])
        points = np.concatenate([cell.pool for cell in self.cells])
        return n_to_come(self.layers, self.neuron, points, np.cumsum(sizes) - sizes)

    def divide(self) -> Indices:
        """Divide the cells in which the next neuron changes sign.

        Returns
        -------
        ndarray of shape (n_cells,), int
            What each cell was a part of.
        """
        layer, place = place_of(self.layers, self.neuron)
        if place == 0:
            for cell in self.cells:
                active = np.array(cell.active, bool)
                cell.maps, scale = added_up(self.layers, layer, cell.maps, active)
                cell.floors, cell.active = ROUNDING * scale @ self.reach, []
        parts = [cell.halves(self.rng) for cell in self.cells]
        self.cells = [half for halves in parts for half in halves]
        self.neuron += 1
        return np.repeat(np.arange(len(parts)), [len(halves) for halves in parts])
