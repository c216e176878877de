"""Tables in partitions, whose target is neither smooth nor additive."""

import dask.array as da
import numpy as np

BY_HOUR, BY_CODE = np.random.default_rng(5).normal(size=(2, 24))


def irregular(n=2000, seed=0, noise=0.3):
    """Return a table whose target depends on codes and hours as no smooth function does."""
    rng = np.random.default_rng(seed)
    hours, codes, x = rng.integers(0, 24, n), rng.integers(0, 12, n), rng.uniform(size=(n, 2))
    y = BY_HOUR[hours] + BY_CODE[codes] * (x[:, 0] > 0.5) + noise * rng.normal(size=n)
    return np.column_stack([hours, codes, x]), y


def in_parts(*arrays, n_parts=4):
    """Return dask arrays of the same partitions."""
    size = -(-len(arrays[0]) // n_parts)
    return [da.from_array(a, chunks=(size, *a.shape[1:])) for a in arrays]
