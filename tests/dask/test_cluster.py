"""Fits on workers that are processes of their own: memory, lost workers, accuracy, searches."""

import os
import signal
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from skrelu import ExponentialReLURegressor
from skrelu.dask import DaskExponentialReLUClassifier, DaskExponentialReLURegressor
from tests.dask.data import in_parts, irregular

# Of a worker, in bytes. More than half of it is taken by Python, torch and dask alone.
LIMIT = 700_000_000

pytestmark = [
    pytest.mark.slow,
    # distributed leaves sockets and files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]  # fmt: skip


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    # Workers neither write to disk nor pause: beyond the limit they are ended.
    patient = dict.fromkeys(("target", "spill", "pause"), False)
    with (
        dask.config.set({f"distributed.worker.memory.{name}": v for name, v in patient.items()}),
        distributed.LocalCluster(memory_limit=LIMIT, **settings) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def wide(n_columns, block_info=None):
    """Draw a partition of zeros and ones; all but six columns are constant."""
    number, _ = block_info[None]["chunk-location"]
    X = np.ones((4000, n_columns))
    X[:, :6] = np.random.default_rng(number).integers(0, 2, (4000, 6))
    return X


def peak():
    """Return the largest memory that this process has had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.long
def test_data_of_four_times_the_memory_of_a_worker_are_fitted(client):
    n_columns, n_parts = 1000, 88
    chunks = (4000,) * n_parts, (n_columns,)
    X = da.map_blocks(wide, n_columns, chunks=chunks, dtype=float, meta=np.empty((0, 0)))
    y = X[:, 0] * X[:, 1] + X[:, 2]
    assert X.nbytes > 4 * LIMIT
    before = client.run(os.getpid)
    model = DaskExponentialReLURegressor(n_members=1, n_passes=1, random_state=0).fit(X, y)
    assert client.run(os.getpid) == before  # a worker beyond its limit is ended
    if Path("/proc/self/status").exists():
        assert max(client.run(peak).values()) < LIMIT
    points = wide(n_columns, {None: {"chunk-location": (1000, 0)}})
    error = model.model_.predict(points) - (points[:, 0] * points[:, 1] + points[:, 2])
    assert np.square(error).mean() < 1e-4


def table(folder, ends, block_info=None):
    """Draw a partition, and end the worker that reads the first one for the sixth time."""
    number, _ = block_info[None]["chunk-location"]
    if number == 0:
        reads = Path(folder) / f"{len(list(Path(folder).iterdir()))}"
        reads.touch()
        if ends and reads.name == "5":
            os.kill(os.getpid(), signal.SIGKILL)
    X, y = irregular(3000, seed=100 + number)
    return np.column_stack([X, y])


@pytest.mark.long
def test_a_lost_worker_does_not_change_the_result(client, tmp_path):
    found = []
    for ends in (False, True):
        folder = tmp_path / str(ends)
        folder.mkdir()
        chunks = (3000,) * 8, (5,)
        rows = da.map_blocks(table, str(folder), ends, chunks=chunks, dtype=float,
                             meta=np.empty((0, 0)))  # fmt: skip
        before = set(client.run(os.getpid).values())
        model = DaskExponentialReLURegressor(
            gather_rows=0, n_members=2, n_passes=2, random_state=0
        ).fit(rows[:, :4], rows[:, 4])
        assert len(list(folder.iterdir())) > 6
        client.wait_for_workers(2, timeout=60)
        assert bool(before - set(client.run(os.getpid).values())) == ends
        found.append(model.model_.predict(irregular(500)[0]))
    np.testing.assert_array_equal(*found)


@pytest.mark.long
def test_partitions_are_as_accurate_as_one_machine():
    train, test = irregular(4000), irregular(8000, 1)

    def error(model):
        return np.sqrt(np.square(test[1] - model.predict(test[0])).mean())

    ordinary = ExponentialReLURegressor(random_state=0).fit(*train)
    assert list(ordinary.kinds_) == ["residual"]  # the same kind of network
    with dask.config.set(scheduler="synchronous"):
        model = DaskExponentialReLURegressor(gather_rows=0, random_state=0)
        assert error(model.fit(*in_parts(*train, n_parts=6))) < 1.02 * error(ordinary)
        first = [part.blocks[:1] for part in in_parts(*train, n_parts=6)]
        assert error(model.fit(*first)) > 1.3 * error(ordinary)


@pytest.mark.long
def test_classes_are_as_accurate_as_on_one_machine():
    (X, y), (X_test, y_test) = irregular(4000), irregular(8000, 1)
    ordinary = DaskExponentialReLUClassifier(random_state=0)
    model = DaskExponentialReLUClassifier(gather_rows=0, random_state=0)
    losses = []
    with dask.config.set(scheduler="synchronous"):
        for each in (ordinary, model):
            chances = each.fit(*in_parts(X, y > 0, n_parts=6)).predict_proba(X_test)
            losses.append(-np.log(np.where(y_test > 0, chances[:, 1], chances[:, 0])).mean())
    assert ordinary.gathered_
    assert losses[1] < 1.02 * losses[0]


def search(n_jobs):
    X, y = irregular(60)
    grid = {"depth": [1, 2], "n_subnetworks": [2, 4]}
    model = ExponentialReLURegressor(n_levels=1, n_init=1, max_iter=20, random_state=0)
    found = GridSearchCV(model, grid, cv=2, n_jobs=n_jobs).fit(X, y).cv_results_
    return np.stack([found["split0_test_score"], found["split1_test_score"]])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "backend",
    ["threading", *(pytest.param(b, marks=pytest.mark.long) for b in ("loky", "dask")), "ray"],
)
def test_searches_have_the_same_scores_on_all_backends(backend, request):
    if backend == "dask":
        request.getfixturevalue("client")
    if backend == "ray":
        pytest.importorskip("ray.util.joblib").register_ray()
    with parallel_config(backend=backend):
        found = search(2)
    np.testing.assert_array_equal(found, search(None))
