r"""The cells into which neurons divide a cube of many dimensions, stored as inequalities.

In many dimensions a cell has too many vertices to store it as in `_cells`. It is stored as the set
where all :math:`n_i^T u + c_i \ge 0`, with some of its points. These inequalities, or walls, are
:math:`2 d` around the cube and one for each neuron that divided the cell. A neuron
:math:`a^T u + b` with both signs at the points divides the cell. If a sign is missing, and the
bound :math:`b \pm \lVert a \rVert_1` on the cube does not exclude it, a linear program decides,

.. math::
    \max_u \; \pm (a^T u + b) \quad \text{where all} \quad n_i^T u + c_i \ge 0.

Its solution becomes one more point. To need few programs, points are spread to the ends of the
cell. They are ends of paths from inside the cell, in random directions and in the directions in
which remaining neurons change most. A path continues along each wall that it meets.
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

# Values of neurons below this, relative to the slope, are zero: programs are solved to 1e-7.
FLAT = 1e-6
# Largest number of stored points of a cell.
MAX_POOL = 256
# Number of new points between others, and of paths in random directions.
N_POOL = 32
# Number of straight parts of a path.
N_LEGS = 4


@dataclass
class _Polytope:
    """One cell, and the pre-activations of the next neuron's layer on it."""

    walls: Array  # (n_walls, d + 1): slopes, of length 1, and intercepts; the cube's come first
    pool: Array  # (n_points, d)
    maps: Array  # (width, d + 1): pre-activations of a layer, slopes and intercept
    floors: Array  # (width,): values below these are rounding errors
    active: list[bool]  # whether the first neurons of the layer are active

    def halves(self, rng: np.random.RandomState) -> list[_Polytope]:
        """Divide the cell by the sign of the next neuron; return one or two cells."""
        place = len(self.active)
        slope, intercept = self.maps[place, :-1], self.maps[place, -1]
        small = max(self.floors[place], FLAT * norm(slope))
        bound = np.abs(slope).sum()  # largest slope @ u in the cube
        for sign in (1, -1):
            most = (sign * (self.pool @ slope + intercept)).max()
            if most <= small < sign * intercept + bound:
                self.pool = np.concatenate([self.pool, self._farthest(sign * slope)])
        values = self.pool @ slope + intercept
        positive = bool(values.max() > small)
        if not positive or values.min() >= -small:
            self.active.append(positive)
            return [self]
        # Points where the neuron vanishes, between pairs of opposite sign, belong to both parts.
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
        """Return ends of paths that turn at walls, see the module's docstring, (n_points, d)."""
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
            met = np.isfinite(length)  # False for steps of length zero
            rate = np.take_along_axis(rates, wall[:, None], 1)
            # Stop short of the wall, so that rounding leaves points inside.
            at = at + 0.999 * np.where(met, length, 0) * steps
            steps = steps - np.where(met, rate, 0) * normals[wall]
        return at

    def _farthest(self, slope: Array) -> Array:
        """Return a point with the largest ``slope @ u``, (1, d), or (0, d) if none is found."""
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
    """Cells stored as inequalities, divided by the first neurons of a network."""

    layers: Layers
    reach: Array  # (d + 1,): see `reach_of`
    neuron: int  # the next neuron to divide by
    cells: list[_Polytope]
    rng: np.random.RandomState

    @classmethod
    def cube(cls, layers: Layers, offsets: Array, rng: np.random.RandomState) -> Polytopes:
        """Return the undivided cube; `offsets` as for `reach_of`."""
        d = layers.n_features
        pool = rng.uniform(-1, 1, size=(N_POOL, d))
        inputs = np.eye(d, d + 1)
        walls = np.concatenate([inputs, -inputs])
        walls[:, -1] = 1
        whole = _Polytope(walls, pool, inputs, np.zeros(0), [])
        return cls(layers, reach_of(offsets), 0, [whole], rng)

    @staticmethod
    def bytes_each(layers: Layers) -> int:
        """Return about how many bytes a cell takes."""
        d = layers.n_features
        n_walls = 2 * d + layers.n_neurons
        return 8 * (d + 1) * (n_walls + 2 * MAX_POOL + layers.largest) + 8 * MAX_POOL * n_walls

    def take(self, cells: Indices) -> Polytopes:
        """Return some of the cells."""
        return replace(self, cells=[self.cells[i] for i in cells])

    def n_to_come(self) -> Indices:
        """Count the remaining neurons that change sign between stored points of each cell."""
        sizes = np.array([len(cell.pool) for cell in self.cells])
        points = np.concatenate([cell.pool for cell in self.cells])
        return n_to_come(self.layers, self.neuron, points, np.cumsum(sizes) - sizes)

    def divide(self) -> Indices:
        """Divide the cells in which the next neuron changes sign.

        Returns
        -------
        ndarray of shape (n_cells,), int
            The cell, before the division, that each cell is a part of.
        """
        layer, place = place_of(self.layers, self.neuron)
        if place == 0:
            for cell in self.cells:
                active = np.array(cell.active, bool)
                cell.maps, sizes = added_up(self.layers, layer, cell.maps, active)
                cell.floors, cell.active = ROUNDING * sizes @ self.reach, []
        parts = [cell.halves(self.rng) for cell in self.cells]
        self.cells = [half for halves in parts for half in halves]
        self.neuron += 1
        return np.repeat(np.arange(len(parts)), [len(halves) for halves in parts])
