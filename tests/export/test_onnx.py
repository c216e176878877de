"""ONNX models are the same function, and run without skrelu."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skrelu.onnx
from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._export.onnx_model import labels_of, onnx_model
from tests.export.cases import DOUBLE, NAMES, SMALL, X, Y, assert_same, case, predictions

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(model):
    content = model if isinstance(model, str) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(model, columns, dtype=np.float64):
    return session(model).run(None, {"X": columns.astype(dtype)})


def small_classifier(y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ExponentialReLUClassifier(**SMALL).fit(X, y)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_onnx_models_predict_what_models_predict(name, dtype):
    if dtype == "float32" and name in DOUBLE:
        pytest.skip("single precision does not hold the data")
    model, points, columns, _ = case(name)
    *labels, values = run(model.to_onnx(dtype=dtype), columns, dtype)
    assert values.dtype == dtype
    assert_same(values, predictions(name), 1e-12 if dtype == "float64" else 1e-5, name)
    if labels and dtype == "float64":
        np.testing.assert_array_equal(labels[0], model.predict(points))


@pytest.mark.parametrize("opset", [14, 17, 21])
@pytest.mark.parametrize("name", ["composed", "poisson", "two classes", "classes", "named classes"])
def test_names_shapes_and_versions_are_those_asked_for(name, opset):
    model, _, columns, outputs = case(name)
    exported = model.to_onnx(opset=opset)
    assert [version.version for version in exported.opset_import] == [opset]
    found = session(exported)
    shapes = {each.name: each.shape[1:] for each in found.get_outputs()}
    assert [(each.name, each.shape[1:]) for each in found.get_inputs()] == [("X", [3])]
    if hasattr(model, "classes_"):
        assert shapes == {"label": [], "probabilities": [len(model.classes_)]}
    else:
        assert shapes == {"variable": [outputs.shape[1]]}
    for rows in (columns[:1], columns[:0]):
        assert [len(each) for each in found.run(None, {"X": rows})] == [len(rows)] * len(shapes)
    assert_same(found.run(None, {"X": columns})[-1], predictions(name))


def test_files_run_without_skrelu(tmp_path):
    model, points, columns, _ = case("named classes")
    file = tmp_path / "model.onnx"
    model.to_onnx(file)
    np.save(tmp_path / "X.npy", columns)
    script = (
        "import sys, numpy as np, onnxruntime as r\n"
        f"s = r.InferenceSession({str(file)!r}, providers=['CPUExecutionProvider'])\n"
        f"label, p = s.run(None, {{'X': np.load({str(tmp_path / 'X.npy')!r})}})\n"
        "assert 'skrelu' not in sys.modules and 'torch' not in sys.modules\n"
        f"np.savez({str(tmp_path / 'out.npz')!r}, label=label.astype('U'), p=p)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    out = np.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(out["label"], model.predict(points))
    assert_same(out["p"], model.predict_proba(points))


@pytest.mark.parametrize("name", ["one level", "windows", "composed", "several outputs"])
def test_files_are_about_as_large_as_the_numbers_that_they_hold(name):
    model, *_ = case(name)
    n_numbers = model._stored().graph().n_numbers
    size = len(model.to_onnx().SerializeToString())
    # Names of operators, and positions of 4 bytes; layers up to 512 numbers may be dense.
    assert size < 12 * n_numbers + 60_000
    dense = 8 * sum(part.numel() for part in model.to_torch().parameters())
    assert size < dense + 10_000


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        ([3, 5, 9], "i"),
        ([1.0, 2.0], "i"),
        ([False, True], "i"),
        (["a", "b"], "O"),
        (np.array(["a", "b"], dtype=object), "O"),
    ],
)
def test_labels_are_integers_or_strings(classes, kind):
    found = labels_of(np.asarray(classes))
    assert found.dtype.kind == kind
    assert list(found) == list(classes)


def test_what_onnx_does_not_hold_is_refused():
    model, *_ = case("one level")
    with pytest.raises(ValueError, match="dtype='float16', but it must be 'float64' or 'float32'"):
        model.to_onnx(dtype="float16")
    with pytest.raises(ValueError, match="opset=9, but it must be in"):
        model.to_onnx(opset=9)
    with pytest.raises(ValueError, match="which float32 does not hold: use dtype='float64'"):
        case("huge")[0].to_onnx(dtype="float32")
    graph = case("two classes")[0]._stored().graph()
    with pytest.raises(ValueError, match="labels in ONNX are 64-bit integers or strings"):
        onnx_model(graph, classes=np.array([b"a", b"b"], dtype=object))


@pytest.mark.parametrize(
    ("missing", "export"),
    [
        ("onnx", lambda model: model.to_onnx()),
        ("skl2onnx", lambda _: skrelu.onnx.register()),
    ],
)
def test_missing_packages_are_named(monkeypatch, missing, export):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"package {missing}: pip install .skrelu\[onnx\]"):
        export(case("one level")[0])


def pipeline(model, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(StandardScaler(), model).fit(X, y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("parameters", "y"),
    [({}, Y), ({"loss": "poisson"}, Y), ({}, np.column_stack([Y, -Y])), ({}, Y[:, None])],
)
def test_skl2onnx_converts_pipelines_of_regressors(parameters, y, dtype):
    skl2onnx = pytest.importorskip("skl2onnx")
    skrelu.onnx.register()
    skrelu.onnx.register()
    model = pipeline(ExponentialReLURegressor(**SMALL, n_levels=1, **parameters), y)
    [values] = run(skl2onnx.to_onnx(model, X[:1].astype(dtype)), X, dtype)
    assert values.dtype == dtype
    expected = model.predict(X).reshape(len(X), -1)
    assert_same(values, expected, 1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("names", [[0, 1], ["a", "b"], [0, 1, 2], ["a", "b", "ü"], [False, True]])
def test_skl2onnx_converts_pipelines_of_classifiers(names):
    skl2onnx = pytest.importorskip("skl2onnx")
    skrelu.onnx.register()
    edges = np.quantile(Y, np.arange(1, len(names)) / len(names))
    model = pipeline(ExponentialReLUClassifier(**SMALL), np.array(names)[np.digitize(Y, edges)])
    plain = {"options": {id(model[-1]): {"zipmap": False}}}
    for dtype, digits in ((np.float64, 1e-12), (np.float32, 1e-5)):
        label, values = run(skl2onnx.to_onnx(model, X[:1].astype(dtype), **plain), X, dtype)
        assert_same(values, model.predict_proba(X), digits)
        np.testing.assert_array_equal(label, model.predict(X))
    # By default probabilities are dicts; skl2onnx has them in single precision only.
    _, dicts = run(skl2onnx.to_onnx(model, X[:1].astype(np.float32)), X, np.float32)
    assert sorted(dicts[0]) == sorted(model.classes_)
    by_class = np.array([[row[label] for label in model.classes_] for row in dicts])
    assert_same(by_class, model.predict_proba(X), 1e-5)


def test_skl2onnx_converts_searches_and_columns_of_their_own():
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType

    skrelu.onnx.register()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = ExponentialReLURegressor(**SMALL, n_levels=1)
        search = GridSearchCV(base, {"alpha": [0.1, 1]}, cv=2).fit(X, Y)
    [values] = run(skl2onnx.to_onnx(search, X[:1]), X)
    assert_same(values[:, 0], search.predict(X))
    types = [(name, FloatTensorType([None, 1])) for name in "abc"]
    model = search.best_estimator_
    converted = skl2onnx.convert_sklearn(model, initial_types=types, target_opset=15)
    single = X.astype(np.float32)
    feeds = {name: single[:, [j]] for j, name in enumerate("abc")}
    [values] = session(converted).run(None, feeds)
    assert_same(values[:, 0], model.predict(X), 1e-5)


def test_skl2onnx_refuses_categories_and_missing_values():
    skl2onnx = pytest.importorskip("skl2onnx")
    skrelu.onnx.register()
    model, *_ = case("mixed")
    with pytest.raises(ValueError, match="has categories or missing values"):
        skl2onnx.to_onnx(model, np.zeros((1, 2)))
