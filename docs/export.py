import numpy as np
import torch

from skrelu import ExponentialReLURegressor

X = np.linspace(0, 1, 200)[:, None]
model = ExponentialReLURegressor(n_subnetworks=2, random_state=0).fit(X, np.exp(X[:, 0]))

network = model.to_torch()
assert isinstance(network, torch.nn.Sequential)
with torch.no_grad():
    y = network(torch.tensor(X))[:, 0].numpy()
np.testing.assert_allclose(y, model.predict(X))
