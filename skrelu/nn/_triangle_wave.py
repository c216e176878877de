"""The elementwise layer: a triangle wave of learnable peaks for each feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skrelu._data.torch_interop import isolated
from skrelu._networks.plain_layers import block_diagonal
from skrelu._networks.triangle import bounded_peaks, peak_logits
from skrelu.nn._checks import as_depth, as_size, check_factory, check_inputs
from skrelu.nn._lowering import lowered, sequential
from skrelu.nn._wave_function import triangle_wave

# Peaks are drawn within 1/2 +- SPREAD / 2 at most.
SPREAD = 0.8


class TriangleWave(nn.Module):
    r"""Apply a triangle wave with 2**depth linear regions on [0, 1] to each feature.

    .. math::

        F(z) = \sum_{i=0}^{d-1} s_i T_{a_i}(\dots T_{a_0}(z)), \qquad
        T_a(h) = \min(h / a, (1 - h) / (1 - a))

    with peaks a of its own for each feature, which are learned, and the scales s that make
    F smooth in the limit of infinite depth. F is concave, near [0, 1] between 0 and 1 in
    [0, 1], and goes on linearly outside.

    Parameters
    ----------
    n_features : int
    depth : int, default=4
        Number of composed triangles, 1 to 52.
    device, dtype : optional
        Of the parameter. float32, float64, bfloat16 or float16.

    Attributes
    ----------
    peak_logits : Parameter of shape (n_features, depth + 1)
        Peaks are a logistic function of these, see `peaks`. They are drawn around 1/2: some
        features are nearly parabolas, others far from it.

    Raises
    ------
    TypeError
        If ``n_features`` or ``depth`` is no integer, or inputs are no floating tensor.
    ValueError
        If these are out of range, ``device`` or ``dtype`` is none for weights, or inputs have
        another last dimension or device.

    Notes
    -----
    - Input: (..., n_features), of any floating dtype.
    - Output: the same shape and dtype. It is computed in at least float32, also under
      `torch.autocast`, since errors double with each composed triangle.
    - Only the input is kept for the backward pass.

    References
    ----------
    Milkert, Hyde, Laine, "Compelling ReLU Networks to Exhibit Exponentially Many Linear
    Regions at Initialization and During Training", ICML 2025, https://arxiv.org/abs/2311.18022

    Examples
    --------
    >>> import torch
    >>> from skrelu.nn import TriangleWave
    >>> wave = TriangleWave(3, depth=5)
    >>> wave(torch.rand(10, 3)).shape
    torch.Size([10, 3])
    """

    def __init__(
        self,
        n_features: int,
        depth: int = 4,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.n_features, self.depth = as_size("n_features", n_features), as_depth(depth)
        check_factory(device, dtype)
        logits = torch.empty(self.n_features, self.depth + 1, device=device, dtype=dtype)
        self.peak_logits = nn.Parameter(logits)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new peaks."""
        working = self.peak_logits.new_empty(self.peak_logits.shape, dtype=torch.float32)
        spread = SPREAD * torch.rand_like(working[:, :1])
        self.peak_logits.copy_(peak_logits(0.5 + spread * (torch.rand_like(working) - 0.5)))

    @property
    def peaks(self) -> Tensor:
        """Peaks, (n_features, depth + 1); the last one only sets a scale."""
        return bounded_peaks(self.peak_logits)

    def forward(self, z: Tensor) -> Tensor:
        """Return F(z) of each feature."""
        logits = self.peak_logits
        check_inputs(z, self.n_features, logits)
        return triangle_wave(z, logits)

    @isolated()
    def to_torch(self) -> nn.Sequential:
        """Return the same function as dense layers: `torch.nn.Linear` and `torch.nn.ReLU`.

        Returns
        -------
        Sequential
            With the dtype, device and mode of the layer.

        Raises
        ------
        ValueError
            If the layer is on the meta device.
        """
        eye = torch.eye(self.n_features, dtype=torch.float64)
        zeros = eye.new_zeros(self.n_features)
        matrices, biases, read_out = lowered(eye, zeros, self.peak_logits)
        layers = [*block_diagonal(matrices, biases), (torch.block_diag(*read_out[:, None]), zeros)]
        return sequential(layers, self.peak_logits).train(self.training)

    def extra_repr(self) -> str:
        """Return what `repr` shows."""
        return f"{self.n_features}, depth={self.depth}"
