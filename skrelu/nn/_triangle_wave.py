"""The elementwise layer: a triangle wave with learnable peaks for each feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skrelu._data.torch_interop import isolated
from skrelu._networks.plain_layers import block_diagonal
from skrelu._networks.triangle import bounded_peaks, peak_logits
from skrelu.nn._checks import as_depth, as_size, check_factory, check_inputs
from skrelu.nn._lowering import lowered, sequential
from skrelu.nn._wave_function import triangle_wave

# Largest range of random peaks: they are drawn from 1/2 +- SPREAD / 2 at most.
SPREAD = 0.8


class TriangleWave(nn.Module):
    r"""Apply a triangle wave with 2**depth linear regions on [0, 1] to each feature.

    .. math::

        F(z) = \sum_{i=0}^{d-1} s_i T_{a_i}(\dots T_{a_0}(z)), \qquad
        T_a(h) = \min(h / a, (1 - h) / (1 - a))

    Each feature has its own learnable peaks a. The scales s follow from the peaks and make F
    smooth in the limit of infinite depth. F is concave and continues linearly outside [0, 1]. For z
    in [0, 1] its values are about in [0, 1].

    Parameters
    ----------
    n_features : int
        Number of features, at least 1.
    depth : int, default=4
        Number of composed triangles, in [1, 52].
    device : torch.device or str, default=None
        Device of the parameter. None is torch's default device.
    dtype : torch.dtype, default=None
        Dtype of the parameter: float32, float64, bfloat16 or float16. None is torch's default.

    Attributes
    ----------
    peak_logits : Parameter of shape (n_features, depth + 1)
        Logits of the peaks, see `peaks`. Initial peaks are random around 1/2, so that some waves
        are nearly parabolas and others are far from it.

    Raises
    ------
    TypeError
        If ``n_features`` or ``depth`` is not an integer, or inputs are not a floating tensor.
    ValueError
        If these are out of range, torch cannot make weights with ``device`` or ``dtype``, or inputs
        have a wrong last dimension or device.

    Notes
    -----
    - Input: (..., n_features), of any floating dtype.
    - Output: the same shape and dtype. It is computed in at least float32, also under
      `torch.autocast`, because errors double with each composed triangle.
    - The backward pass needs only the input in memory.

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
        """Peaks in (0, 1), (n_features, depth + 1); the last one only determines a scale."""
        return bounded_peaks(self.peak_logits)

    def forward(self, z: Tensor) -> Tensor:
        """Return F(z) of each feature, of the shape and dtype of ``z``."""
        logits = self.peak_logits
        check_inputs(z, self.n_features, logits)
        return triangle_wave(z, logits)

    @isolated()
    def to_torch(self) -> nn.Sequential:
        """Return the same function as dense `torch.nn.Linear` and `torch.nn.ReLU` layers.

        Returns
        -------
        torch.nn.Sequential
            Layers with the dtype, device and mode of this layer.

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
        """Return the sizes, for `repr`."""
        return f"{self.n_features}, depth={self.depth}"
