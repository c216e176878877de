"""The layer that replaces dense layers: directions, triangle waves and a linear read-out."""

from __future__ import annotations

from math import sqrt
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from torch.nn.utils import skip_init

from skrelu._data.torch_interop import isolated
from skrelu._networks.plain_layers import block_diagonal
from skrelu.nn._checks import (
    as_depth,
    as_flag,
    as_rate,
    as_size,
    check_factory,
    check_inputs,
    check_module,
    check_precision,
    check_values,
)
from skrelu.nn._forms import Blocks, Dense, Peaks
from skrelu.nn._lowering import sequential
from skrelu.nn._wave_function import triangle_wave

Form = Literal["peaks", "blocks", "dense"]
FORMS: dict[Form, type[Peaks] | type[Blocks] | type[Dense]] = {
    "peaks": Peaks,
    "blocks": Blocks,
    "dense": Dense,
}
# Key of `state_dict` that only this form has.
KEYS: dict[Form, str] = {
    "peaks": "wave.peak_logits",
    "blocks": "weight",
    "dense": "layers.0.weight",
}
# Width of a new window [0, 1], in standard deviations of the projected inputs. In wider windows
# waves vary less compared with their mean, and subtracting the mean costs digits.
WINDOW = 4.0
# Largest distance of a new window's center from the mean, in the same unit.
SHIFT = 0.5
# Standard deviation of the outputs of a new layer. As a head it then begins with nearly equal
# logits.
OUTPUT_STD = 0.1
# Number of gaussian quantiles from which the mean and variance of new waves are computed.
N_QUANTILES = 256
# Smallest default of n_subnetworks.
FEWEST = 16


class ExponentialReLULayer(nn.Module):
    r"""Replace a stack of `torch.nn.Linear` and `torch.nn.ReLU` by triangle waves.

    .. math::

        f(x) = b + \sum_{k=1}^{K} c_k F_k(w_k \cdot x + o_k)

    with directions w_k, offsets o_k, triangle waves F_k of 2**depth linear regions each
    (`TriangleWave`), and a linear read-out with weights c_k and bias b. `release` turns the layer
    into a ReLU network with free weights that computes the same function.

    Parameters
    ----------
    in_features : int
        Size of each input sample, at least 1.
    out_features : int
        Size of each output sample, at least 1.
    depth : int, default=4
        Number of composed triangles, in [1, 52]. After `release` it is the number of hidden layers.
    n_subnetworks : int, default=None
        Number K of triangle waves, at least 1. None is the larger of ``in_features`` and
        ``out_features``, and at least 16.
    bias : bool, default=True
        Whether the read-out has a bias. The waves always have offsets.
    dropout : float, default=0.0
        Probability that a sub-network is dropped in training mode, in [0, 1).
    device : torch.device or str, default=None
        Device of the parameters. None is torch's default device.
    dtype : torch.dtype, default=None
        Dtype of the parameters: float32, float64, bfloat16 or float16. None is torch's default.

    Attributes
    ----------
    form : {"peaks", "blocks", "dense"}
        Form of the parameters: "peaks", or after `release` "blocks" or "dense" matrices.
    subnetworks : torch.nn.Module
        The sub-networks. In the form "peaks" their parameters are ``directions`` and
        ``wave.peak_logits``.
    read_out : torch.nn.Linear
        The linear read-out.

    Raises
    ------
    TypeError
        If a size is not an integer, ``dropout`` not a number, ``bias`` not a bool, or inputs are
        not a tensor with the dtype of the parameters.
    ValueError
        If these are out of range, torch cannot make weights with ``device`` or ``dtype``, or inputs
        have a wrong last dimension or device.

    Notes
    -----
    - Input: (..., in_features), with the dtype of the parameters, or one that `torch.autocast`
      casts to it. Output: (..., out_features).
    - New layers expect inputs with zero mean and unit variance. Their outputs then have zero mean
      and a standard deviation of 0.1, on average over random initial values. Use `fit_windows` for
      other inputs.
    - Memory for the backward pass is that of two dense layers of K neurons, at any depth.
    - `state_dict` has the parameters of the layer's form. `load_state_dict` gives a layer of the
      same sizes the form of the loaded state. Optimizers made before do not have the new
      parameters.

    References
    ----------
    Milkert, Hyde, Laine, "Compelling ReLU Networks to Exhibit Exponentially Many Linear
    Regions at Initialization and During Training", ICML 2025, https://arxiv.org/abs/2311.18022

    Examples
    --------
    >>> import torch
    >>> from skrelu.nn import ExponentialReLULayer
    >>> layer = ExponentialReLULayer(8, 3, depth=5, n_subnetworks=20)
    >>> before = layer(torch.ones(2, 8))
    >>> torch.allclose(layer.release()(torch.ones(2, 8)), before, atol=1e-5)
    True
    """

    subnetworks: Peaks | Blocks | Dense

    def __init__(
        self,
        in_features: int,
        out_features: int,
        depth: int = 4,
        n_subnetworks: int | None = None,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = as_size("in_features", in_features)
        self.out_features = as_size("out_features", out_features)
        self.depth = as_depth(depth)
        if n_subnetworks is None:
            n_subnetworks = max(self.in_features, self.out_features, FEWEST)
        self.n_subnetworks = as_size("n_subnetworks", n_subnetworks)
        self.dropout = as_rate("dropout", dropout, below=1)
        bias = as_flag("bias", bias)
        check_factory(device, dtype)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.subnetworks = Peaks(self.in_features, self.n_subnetworks, self.depth, **factory)
        self.read_out = nn.Linear(self.n_subnetworks, self.out_features, bias=bias, **factory)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new peaks, directions and read-out.

        All directions have the same length. Windows [0, 1] span 4 standard deviations of the
        projected inputs, with centers at most half a standard deviation from the mean. The weights
        of the read-out are gaussian.

        Raises
        ------
        ValueError
            If the layer was released.
        """
        peaks = self.check_peaks("reset_parameters")
        peaks.wave.reset_parameters()
        weight, offsets = peaks.directions.weight, peaks.directions.bias
        weight.normal_()
        weight /= WINDOW * weight.norm(dim=1, keepdim=True)
        offsets.uniform_(0.5 - SHIFT / WINDOW, 0.5 + SHIFT / WINDOW)
        steps = torch.arange(0.5, N_QUANTILES, dtype=torch.float32, device=weight.device)
        z = offsets + torch.special.ndtri(steps / N_QUANTILES)[:, None] / WINDOW
        waves = triangle_wave(z, peaks.wave.peak_logits)
        mean, std = waves.mean(0), waves.std(0, correction=0)
        self.read_out.weight.normal_()
        self.read_out.weight *= OUTPUT_STD / (sqrt(self.n_subnetworks) * std)
        if self.read_out.bias is not None:
            # Not a matrix product, which autocast and settings of its precision would change.
            self.read_out.bias.copy_(-(self.read_out.weight * mean).sum(1))

    @torch.no_grad()
    def fit_windows(self, inputs: Tensor) -> ExponentialReLULayer:
        """Fit the windows [0, 1] to the range of inputs along each direction.

        Use it for inputs without zero mean and unit variance. The read-out is changed, too, so that
        outputs for these inputs have zero mean and a standard deviation of 0.1.

        Parameters
        ----------
        inputs : Tensor of shape (..., in_features)
            Typical inputs.

        Returns
        -------
        self : ExponentialReLULayer
            The layer.

        Raises
        ------
        TypeError
            If the inputs are not a floating tensor.
        ValueError
            If the layer was released, is parametrized or has no values. If the inputs are empty,
            not finite, so large or close to each other that windows are beyond the dtype, or have a
            wrong last dimension or device. The layer is left unchanged.
        """
        for parameter, value in self._windows(inputs):
            parameter.copy_(value)
        return self

    @isolated()
    def _windows(self, inputs: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the parameters that `fit_windows` changes, with their new values."""
        peaks = self.check_peaks("fit_windows")
        weight, offsets = peaks.directions.weight, peaks.directions.bias
        check_values(weight)
        check_inputs(inputs, self.in_features, weight)
        inputs = inputs.reshape(-1, self.in_features).to(weight.dtype)
        if not len(inputs) or not inputs.isfinite().all():
            raise ValueError("fit_windows needs a batch of one row or more, and finite values.")
        z = inputs @ weight.mT
        low, width = z.amin(0), z.amax(0) - z.amin(0)
        width = torch.where(width > 0, width, 1)
        directions, starts = weight / width[:, None], -low / width
        waves = triangle_wave(linear(inputs, directions, starts), peaks.wave.peak_logits)
        outputs = waves @ self.read_out.weight.mT
        std = outputs.var(0, correction=0).mean().sqrt()
        factor = torch.where(std > 0, OUTPUT_STD / std, 1)
        found = [(weight, directions), (offsets, starts)]
        found.append((self.read_out.weight, factor * self.read_out.weight))
        if self.read_out.bias is not None:
            found.append((self.read_out.bias, -factor * outputs.mean(0)))
        if not all(isinstance(parameter, nn.Parameter) for parameter, _ in found):
            raise ValueError(
                "fit_windows changes weights, but some are computed from others; fit first, and "
                "parametrize the layer (as by weight_norm) then."
            )
        if not all(value.isfinite().all() for _, value in found):
            raise ValueError(
                f"The windows of these inputs are beyond what {weight.dtype} can hold; scale the "
                f"inputs, as to unit variance."
            )
        return found

    @property
    def form(self) -> Form:
        """Form of the parameters: "peaks", "blocks" or "dense"."""
        return next(form for form, cls in FORMS.items() if isinstance(self.subnetworks, cls))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return f(x), of shape (..., out_features)."""
        first = self.subnetworks.first
        # Modules that replace the first linear layer check their inputs themselves.
        weight = first.weight if type(first) is nn.Linear else None
        check_inputs(inputs, self.in_features, weight)
        check_precision(inputs, weight)
        values = self.subnetworks(inputs)
        if self.training and self.dropout:
            by_subnetwork = values.unflatten(-1, (self.n_subnetworks, -1))
            kept = dropout(torch.ones_like(by_subnetwork[..., :1]), self.dropout)
            values = (by_subnetwork * kept).flatten(-2)
        return self.read_out(values)

    @isolated()
    def release(self, dense: bool = False) -> ExponentialReLULayer:
        """Replace the parameters by free weights that compute the same function, in place.

        The lowering is computed in float64 and then rounded. Optimizers do not have the new
        parameters; use `skrelu.nn.release` to add them.

        Parameters
        ----------
        dense : bool, default=False
            Whether to add free weights between sub-networks, which are 0 at first. The layer is
            then a plain ReLU network with 4 ``n_subnetworks`` neurons in each hidden layer. If
            False, only the blocks on the diagonal are stored and computed. Blocks can be made dense
            later.

        Returns
        -------
        self : ExponentialReLULayer
            The layer.

        Raises
        ------
        TypeError
            If ``dense`` is not a bool.
        ValueError
            If ``dense=False`` and the layer is dense already, or the peaks are on the meta device.
            The layer is left unchanged.
        """
        self.subnetworks, self.read_out = self.released(dense)
        return self

    @isolated()
    def released(self, dense: bool) -> tuple[Peaks | Blocks | Dense, nn.Linear]:
        """Return the sub-networks and the read-out of the released layer."""
        form: Form = "dense" if as_flag("dense", dense) else "blocks"
        if self.form == form:
            return self.subnetworks, self.read_out
        if self.form == "dense":
            raise ValueError(
                "The layer is dense already, and its weights between sub-networks cannot be "
                "left out; release it with dense=True or build a new one."
            )
        matrices, biases, weight = self._lowered()
        subnetworks, read_out = self._empty(form)
        if isinstance(subnetworks, Dense):
            subnetworks.copy_(block_diagonal(matrices, biases))
        else:
            cast(Blocks, subnetworks).copy_(matrices, biases)
        read_out.weight.copy_(weight)
        return subnetworks, read_out

    @isolated()
    def to_torch(self) -> nn.Sequential:
        """Return the same function as dense `torch.nn.Linear` and `torch.nn.ReLU` layers.

        There is no dropout in it.

        Returns
        -------
        torch.nn.Sequential
            Layers with the dtype, device and mode of this layer.

        Raises
        ------
        ValueError
            If the peaks are on the meta device.
        """
        weight, bias = self.read_out.weight, self.read_out.bias
        if isinstance(self.subnetworks, Dense):
            layers = self.subnetworks.affine()
        else:
            matrices, biases, weight = self._lowered()
            layers = block_diagonal(matrices, biases)
        last = weight, weight.new_zeros(self.out_features) if bias is None else bias
        return sequential([*layers, last], self.read_out.weight).train(self.training)

    def extra_repr(self) -> str:
        """Return the sizes and the form, for `repr`."""
        return (
            f"{self.in_features}, {self.out_features}, depth={self.depth}, "
            f"n_subnetworks={self.n_subnetworks}, dropout={self.dropout}, form={self.form!r}"
        )

    def check_peaks(self, method: str) -> Peaks:
        """Return the sub-networks, or raise an error if they have no peaks."""
        if not isinstance(self.subnetworks, Peaks):
            raise ValueError(f"{method} needs peaks, but the layer was released; use a new one.")
        return self.subnetworks

    def _lowered(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return matrices and biases by sub-network, and the weight of the read-out."""
        weight = self.read_out.weight
        if isinstance(self.subnetworks, Peaks):
            matrices, biases, read_out = self.subnetworks.layers()
            return matrices, biases, (weight.to(read_out)[..., None] * read_out).flatten(1)
        return *cast(Blocks, self.subnetworks).layers(), weight

    def _empty(self, form: Form) -> tuple[Peaks | Blocks | Dense, nn.Linear]:
        """Return sub-networks and a read-out of a form, with weights that are not initialized.

        No random numbers are drawn. Mode, bias and ``requires_grad`` are those of the layer.
        """
        weight, bias = self.read_out.weight, self.read_out.bias
        sizes = self.in_features, self.n_subnetworks, self.depth
        subnetworks = FORMS[form](*sizes, device="meta", dtype=weight.dtype)
        subnetworks.to_empty(device=weight.device).train(self.training)
        subnetworks.requires_grad_(
            any(part.requires_grad for part in self.subnetworks.parameters())
        )
        read_out = skip_init(
            nn.Linear,
            self.n_subnetworks * subnetworks.width,
            self.out_features,
            bias=False,
            device=weight.device,
            dtype=weight.dtype,
        ).train(self.training)
        read_out.requires_grad_(
            any(part.requires_grad for part in self.read_out.parameters() if part is not bias)
        )
        read_out.bias = bias
        return subnetworks, read_out

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors
    ) -> None:
        """Change to the form of the loaded state; torch then loads the parameters."""
        keys = {f"{prefix}subnetworks.{key}": form for form, key in KEYS.items()}
        form = next((form for key, form in keys.items() if key in state_dict), self.form)
        if form != self.form:
            with isolated():
                subnetworks, read_out = self._empty(form)
            parts = nn.ModuleDict({"subnetworks": subnetworks, "read_out": read_out})
            misfits = [
                prefix + name
                for name, value in parts.state_dict().items()
                if getattr(state_dict.get(prefix + name), "shape", None) != value.shape
            ]
            if misfits:
                errors.append(
                    f"the state has the form {form!r}, but misses or has of other sizes than "
                    f"ExponentialReLULayer({self.extra_repr()}): {', '.join(misfits)}."
                )
            else:
                self.subnetworks, self.read_out = subnetworks, read_out
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing, unexpected, errors
        )


def layers_of(model: nn.Module) -> dict[str, ExponentialReLULayer]:
    """Return the layers of a model by name, or raise an error if it has none."""
    check_module(model)
    parts = model.named_modules()
    layers = {name: part for name, part in parts if isinstance(part, ExponentialReLULayer)}
    if not layers:
        raise ValueError(
            "The model has no ExponentialReLULayer; put one in place of dense layers, as "
            "swap_dense does."
        )
    return layers
