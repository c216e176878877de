r"""
How are triangle waves used from scikit-learn, by skorch?
=========================================================

`skorch <https://skorch.readthedocs.io>`_ makes scikit-learn estimators of torch modules. A
classifier whose only layer is `skrelu.nn.ExponentialReLULayer` goes into a pipeline, its depth and
learning rate are chosen by a grid search, and a callback releases the layer while it is fitted.
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
# Fresh layers expect inputs of zero mean and unit variance, which is what `StandardScaler` makes.
# skorch gives the layer what begins with ``module__``, and the layer is the whole module here.
# Its outputs are logits, so the criterion is `torch.nn.CrossEntropyLoss`.

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
# Any parameter is searched by its name, as everywhere in scikit-learn.

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
# `skrelu.nn.release` changes the layer and the optimizer in place: a callback can do it at the end
# of an epoch. The released network learns on at a tenth of the learning rate.


class Release(Callback):
    """Release the layer after an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        """Look at how many epochs are over."""
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
# In the history that skorch keeps, the first steps of free weights raise the loss; then it falls
# below what it was.

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
axis.plot(net.history[:, "epoch"], net.history[:, "train_loss"], "o-", color="#d1542c")
axis.axvline(8.5, color="#8a949e", linestyle=":")
axis.annotate("released", (8.7, 0.5), color="#5a646e")
axis.set(xlabel="epoch", ylabel="training loss", yscale="log", xticks=range(2, 17, 2))
axis.grid(color="#e6e9ec")
plt.show()
