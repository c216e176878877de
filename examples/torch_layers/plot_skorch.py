r"""
How are triangle waves used from scikit-learn, by skorch?
=========================================================

`skorch <https://skorch.readthedocs.io>`_ turns torch modules into scikit-learn estimators. In this
example a classifier is a pipeline whose network is a `skrelu.nn.ExponentialReLULayer`. A grid
search chooses its depth and learning rate, and a callback releases the layer during the fit.
"""

import sys

try:
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Callback
except ImportError:
    sys.exit("This example needs skorch: pip install skorch")

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelu.nn import ExponentialReLULayer, release

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X.astype(np.float32), y, stratify=y, random_state=0
)

# %%
# New layers expect inputs with zero mean and unit variance, so a `StandardScaler` comes first. The
# layer is the whole module here; its parameters begin with ``module__`` in skorch. Its outputs are
# logits, so the criterion is `torch.nn.CrossEntropyLoss`.

torch.manual_seed(0)
classifier = NeuralNetClassifier(
    ExponentialReLULayer,
    module__in_features=X.shape[1],
    module__out_features=10,
    module__n_subnetworks=64,
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    max_epochs=8,
    batch_size=64,
    train_split=None,
    verbose=0,
)
pipeline = make_pipeline(StandardScaler(), classifier)

# %%
# Parameters are searched by their names, as usual in scikit-learn.

grid = {
    "neuralnetclassifier__lr": [1e-3, 1e-2],
    "neuralnetclassifier__module__depth": [2, 4],
}
search = GridSearchCV(pipeline, grid, cv=3).fit(X_train, y_train)
for setting, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print({name.split("__")[-1]: value for name, value in setting.items()}, f"{score:.3f}")
print(f"accuracy on the test rows: {search.score(X_test, y_test):.3f}")

# %%
# `skrelu.nn.release` changes the layer and the optimizer in place, so a callback can call it at the
# end of an epoch. The released network is trained further with a tenth of the learning rate.


class Release(Callback):
    """Release the layer after an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        """Release the layer after the chosen epoch."""
        if len(net.history) == self.epoch:
            release(net.module_, net.optimizer_)


torch.manual_seed(0)
model = search.best_estimator_.set_params(
    neuralnetclassifier__callbacks=[Release(8)], neuralnetclassifier__max_epochs=16
)
model.fit(X_train, y_train)
net = model[-1]
print(f"form: {net.module_.form}, accuracy on the test rows: {model.score(X_test, y_test):.3f}")

# %%
# skorch's history shows that the first steps of the free weights raise the loss. Then it falls
# below its value before the release.

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
axis.plot(net.history[:, "epoch"], net.history[:, "train_loss"], "o-", color="#d1542c")
axis.axvline(8.5, color="#8a949e", linestyle=":")
axis.annotate("released", (8.7, 0.5), color="#5a646e")
axis.set(xlabel="epoch", ylabel="training loss", yscale="log", xticks=range(2, 17, 2))
axis.grid(color="#e6e9ec")
plt.show()
