"""Derivatives of neurons along a direction, as rows of a program."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array, hstack

from skrelu.optimize._encode import Bounded
from skrelu.optimize._program import Array, Clock, Program

# Relative room for rounding of bounds.
ROUNDING = 1e-12


def tangent_program(
    bounded: Bounded, units: Array, norm: float, rates: Array
) -> tuple[Program, Array]:
    """Return the program of values and derivatives, and the derivative of the output.

    Variables are those of `Bounded.mixed_integer`, directions e in [-1, 1] (sum of sizes at most 1
    for ``norm=1``), derivatives of the neurons in units of their rates, and for ``norm=1`` sizes
    of e. An input has the derivative units * e.

    Parameters
    ----------
    units : ndarray of shape (n_inputs,)
    rates : ndarray of shape (n_neurons,)
        Bounds of the sizes of the derivatives of what neurons get.
    """
    graph, n = bounded.graph, bounded.graph.n_inputs
    program = bounded.mixed_integer()
    start = program.n_variables  # of directions
    on = (bounded.above > 0).astype(float)
    program = program.with_variables(np.r_[-np.ones(n), -on], np.r_[np.ones(n), on])
    unit = np.r_[units, _positive(rates)]
    reads = csr_array(diags_array(1 / unit[n:]) @ graph.weights @ diags_array(unit))  # dp
    own = csr_array(eye_array(graph.n_neurons, n + graph.n_neurons, k=n, format="csr"))  # dv
    always, unstable = np.flatnonzero(bounded.below >= 0), np.flatnonzero(bounded.unstable)
    program = _further(program, own[always] - reads[always], 0.0, 0.0, start)
    own, reads = own[unstable], reads[unstable]
    eye = eye_array(len(unstable), format="csr")
    # |dv| <= b and |dp - dv| <= 1 - b, as |dp| <= 1 in its unit.
    for derivatives, sign, most in (
        (own, -1.0, 0.0),
        (-own, -1.0, 0.0),
        (reads - own, 1.0, 1.0),
        (own - reads, 1.0, 1.0),
    ):
        rows = hstack([sign * eye, derivatives], format="csr")  # binaries end before directions
        program = _further(program, rows, -np.inf, most, start - len(unstable))
    if norm == 1:
        program = _of_one_norm(program, n, start)
    output = (graph.output @ diags_array(unit)).toarray()[0]
    cost = np.zeros(program.n_variables)
    cost[start : start + len(output)] = output
    return program, cost


def _of_one_norm(program: Program, n: int, start: int) -> Program:
    """Return the program where the sizes of n variables from ``start`` on sum to 1 at most."""
    at = program.n_variables
    program = program.with_variables(np.zeros(n), np.ones(n))
    eye, between = eye_array(n, format="csr"), csr_array((n, at - start - n))
    for sign in (1.0, -1.0):
        rows = hstack([sign * eye, between, -eye], format="csr")
        program = _further(program, rows, -np.inf, 0.0, start)
    return _further(program, csr_array(np.ones((1, n))), -np.inf, 1.0, at)


def rates_of(bounded: Bounded, units: Array, norm: float) -> Array:
    """Return bounds of the sizes of the derivatives of what neurons get, over all directions."""
    graph, n = bounded.graph, bounded.graph.n_inputs
    # Least and largest derivatives by each input.
    signed = [np.vstack([np.diag(units), np.zeros((graph.n_neurons, n))]) for _ in range(2)]
    rates = np.zeros(graph.n_neurons)
    for neurons in graph.in_layers():
        rows = graph.weights[neurons]
        up, down = rows.maximum(0), rows.minimum(0)
        least = up @ signed[0] + down @ signed[1]
        most = up @ signed[1] + down @ signed[0]
        sizes = np.maximum(np.abs(least), np.abs(most))
        rates[neurons] = sizes.sum(1) if norm == np.inf else sizes.max(1, initial=0.0)
        always, never = bounded.below[neurons] >= 0, bounded.above[neurons] <= 0
        least = np.where(always[:, None], least, np.minimum(least, 0)) * ~never[:, None]
        most = np.where(always[:, None], most, np.maximum(most, 0)) * ~never[:, None]
        signed[0][n + neurons], signed[1][n + neurons] = least, most
    return rates * (1 + ROUNDING)


def tightened_rates(
    bounded: Bounded, units: Array, norm: float, rates: Array, clock: Clock
) -> Array:
    """Return narrower bounds, layer by layer, by linear programs over the relaxation."""
    graph, n = bounded.graph, bounded.graph.n_inputs
    rates = rates.copy()
    for neurons in graph.in_layers()[1:]:
        unit = np.r_[units, _positive(rates)]
        program, _ = tangent_program(bounded, units, norm, rates)
        relaxation = program.relaxation()
        start = n + graph.n_neurons + bounded.n_unstable
        for i in neurons[bounded.above[neurons] > 0]:
            if clock.over(0.3):
                return rates
            cost = np.zeros(program.n_variables)
            cost[start : start + len(unit)] = graph.weights[[i]].toarray()[0] * unit
            # Directions come in both signs.
            rates[i] = min(rates[i], max(-relaxation.least(-cost)[0], 0.0))
    return rates


def _further(program: Program, rows, least, most, start: int) -> Program:
    before = csr_array((rows.shape[0], start))
    return program.with_rows(hstack([before, rows], format="csr"), least, most)


def _positive(rates: Array) -> Array:
    return np.where(rates > 0, rates, 1.0)
