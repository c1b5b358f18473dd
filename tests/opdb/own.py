"""Calls that torch's own table has no sample of, by full name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_GENERATOR = torch.Generator().manual_seed(0)


def _some(*shape: int) -> Tensor:
    return torch.rand(shape, generator=_GENERATOR, dtype=torch.float64) - 0.4


def _positive(*shape: int) -> Tensor:
    return _some(*shape).abs() + 0.1


def _whole(high: int, *shape: int) -> Tensor:
    return torch.randint(0, high, shape, generator=_GENERATOR)


def _call(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


Calls = tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]

_NORMED = (_some(2, 3, 4, 4), _some(3), _positive(3), _some(3), _positive(3))
_REDUCED: Calls = (
    _call(_some(2, 3, 4), axis=1),
    _call(_some(2, 3, 4), axis=-1, keepdims=True),
    _call(_some(2, 3, 4), dim=(1, 2)),
    _call(_some(2, 3, 4), 2, keepdim=True),
)
_BOUNDED: Calls = (
    _call(_some(2, 3), -0.1, 0.2),
    _call(_some(2, 3), min=0),
    _call(_some(2, 3), max=0.1),
)
_ALONG: Calls = (_call(_some(2, 3, 4), 1), _call(_some(2, 3, 4), -1, keepdim=True))
_VALUE: Calls = (_call(_some()), _call(_some(3, 4)))
_SHAPE = (3, 4)

OWN: dict[str, Calls] = {
    # in another order than torch.nn.functional's functions of the same name
    "torch.batch_norm": (
        _call(*_NORMED, False, 0.1, 1e-5, False),
        _call(_NORMED[0], None, None, *_NORMED[3:], False, 0.1, 1e-3, False),
        _call(*_NORMED, True, 0.1, 1e-5, False),
    ),
    "torch.instance_norm": (
        _call(*_NORMED, True, 0.1, 1e-5, False),
        _call(*_NORMED, False, 0.1, 1e-5, False),
    ),
    "torch.embedding": (
        _call(_some(5, 3), _whole(5, 2, 4)),
        _call(_some(5, 3), _whole(5, 2, 4), 1),
    ),
    # NumPy's names of arguments
    **{
        f"{space}.{name}": _REDUCED
        for space in ("torch", "torch.Tensor")
        for name in ("sum", "mean")
    },
    # values that become part of a new tensor
    **{
        f"torch.{name}": _VALUE
        for name in ("tensor", "as_tensor", "asarray", "scalar_tensor", "is_tensor")
    },
    "torch.full": (_call(_SHAPE, _some()), _call((2,), _positive())),
    "torch.Tensor.new_tensor": (_call(_some(3), _some(4)), _call(_some(3), _some())),
    "torch.Tensor.new_full": (_call(_some(3), _SHAPE, _some()),),
    "torch.full_like": (_call(_some(3, 4), _some()), _call(_some(3, 4), 2.0)),
    "torch.arange": (_call(_whole(5) + 1), _call(0, 4, _positive())),
    "torch.eye": (_call(_whole(3) + 1),),
    "torch.zeros": (_call(_whole(3) + 1),),
    "torch.ones": (_call(_whole(3) + 1),),
    "torch.normal": (_call(_some(3, 4), 1.0), _call(_some(3, 4), _positive(3, 4))),
    "torch.result_type": (_call(_some(3), 1), _call(_whole(3, 4), 1.5)),
    "torch.vmap": (),
    "torch.cond": (),
    "torch.to_dlpack": (_call(_some(3, 4)),),
    # the plain calls of what has many options
    **{f"{s}.{n}": _BOUNDED for s in ("torch", "torch.Tensor") for n in ("clamp", "clip")},
    **{f"{s}.{n}": _BOUNDED for s in ("torch", "torch.Tensor") for n in ("clamp_", "clip_")},
    **{f"{s}.{n}": _ALONG for s in ("torch", "torch.Tensor") for n in ("argmax", "argmin")},
    "torch.einsum": (
        _call("bij,bkj->bik", _some(2, 3, 4), _some(2, 5, 4)),
        _call("...i,ij->...j", _some(2, 3, 4), _some(4, 5)),
    ),
    "torch.nn.functional.normalize": (_call(_some(2, 3, 4)), _call(_some(2, 3, 4), dim=-1)),
    "torch.nn.functional.softplus": (_call(_some(2, 3)), _call(_some(2, 3), 2.0)),
    "torch.nn.functional.instance_norm": (_call(_some(2, 3, 4, 4)),),
    "torch.nn.functional.batch_norm": (
        _call(_NORMED[0], _some(3), _positive(3), _some(3), _some(3)),
        _call(_NORMED[0], None, None, training=True),
    ),
    "torch.repeat_interleave": (_call(_some(2, 3, 4), 2, 1),),
    "torch.Tensor.repeat_interleave": (_call(_some(2, 3, 4), 2, 1),),
    "torch.nn.functional.dropout1d": (_call(_some(2, 3, 4), 0.5, False),),
    "torch.nn.functional.dropout2d": (_call(_some(2, 3, 4, 4), 0.5, False),),
    "torch.nn.functional.adaptive_max_pool1d": (_call(_some(2, 3, 8), 4),),
    "torch.nn.functional.adaptive_max_pool2d": (_call(_some(2, 3, 8, 8), (4, 2)),),
    "torch.nn.functional.interpolate": (
        _call(_some(2, 3, 4, 4), scale_factor=2),
        _call(_some(2, 3, 4, 4), (7, 5), mode="bilinear"),
    ),
    # attributes and questions
    "torch.Tensor.T": (_call(_some(3, 4)),),
    "torch.Tensor.H": (_call(_some(3, 4)),),
    "torch.Tensor.mT": (_call(_some(2, 3, 4)),),
    "torch.Tensor.mH": (_call(_some(2, 3, 4)),),
    "torch.Tensor.__getitem__": (
        _call(_some(3, 4, 5), 1),
        _call(_some(3, 4, 5), slice(1, 3)),
        _call(_some(3, 4, 5), (..., 0)),
        _call(_some(3, 4, 5), (slice(None), -1)),
        _call(_some(3, 4, 5), (slice(None), None, slice(0, 4, 2))),
        _call(_some(3, 4, 5), (slice(None), _whole(4, 2))),
        _call(_some(3, 4, 5), [0, 2]),
        _call(_some(3, 4, 5), (_whole(3, 2), _whole(4, 2))),
        _call(_some(3, 4), _some(3, 4) > 0),
        _call(_some(3, 4, 5), (slice(None), _whole(4, 2), _whole(5, 2))),
        _call(_some(3, 4), (..., True)),
        _call(_some(3, 4, 5), (slice(None), _some(4) > 0)),
        _call(_some(3, 4), _whole(3, 2, 2)),
    ),
    "torch.Tensor.__setitem__": (
        _call(_some(3, 4, 5), (slice(None), 1), 0.5),
        _call(_some(3, 4, 5), (..., slice(1, 3)), _some(3, 4, 2)),
        _call(_some(3, 4), _some(3, 4) > 0, 0.0),
        _call(_some(3, 4), 1, _some(4)),
        _call(_some(3, 4), (slice(None), _whole(4, 2)), 1.0),
        _call(_some(3, 4), _some(3, 4) > 0, _some()),
        _call(_some(3, 4, 5), (slice(None), slice(0, 4, 2)), 2.0),
        _call(_some(3, 4), (..., 2), _some()),
    ),
    # options that change what comes out
    "torch.nn.functional.affine_grid": (_call(_some(2, 2, 3), (2, 3, 4, 5), False),),
    "torch.nn.functional.lp_pool2d": (_call(_positive(2, 3, 8, 8), 2.0, 2),),
    "torch.nn.functional.lp_pool3d": (_call(_positive(2, 3, 8, 8, 8), 2.0, 2),),
    "torch.nn.functional.conv_tbc": (_call(_some(6, 2, 3), _some(2, 3, 4), _some(4)),),
    "torch.nn.functional.upsample": (
        _call(_some(2, 3, 4, 4), scale_factor=2),
        _call(_some(2, 3, 4, 4), (6, 5), None, "bilinear", True),
    ),
    "torch.nn.functional.upsample_bilinear": (_call(_some(2, 3, 4, 4), scale_factor=2),),
    "torch.nn.functional.upsample_nearest": (_call(_some(2, 3, 4, 4), scale_factor=2),),
    "torch.nn.functional.dropout": (
        _call(_some(3, 4), 0.5, False),
        _call(_some(3, 4), 0.0, True),
        _call(_some(3, 4)),
    ),
    "torch.nn.functional.embedding": (
        _call(_whole(5, 2, 4), _some(5, 3)),
        _call(_whole(5, 2, 4), _some(5, 3), padding_idx=1),
        _call(_whole(5, 2, 4), _some(5, 3), max_norm=1.0),
    ),
    "torch.nn.functional.fold": (_call(_some(2, 12, 9), (4, 4), 2),),
    "torch.nn.functional.ctc_loss": (
        _call(
            _some(6, 2, 4).log_softmax(-1),
            _whole(3, 2, 3) + 1,
            torch.tensor([6, 6]),
            torch.tensor([3, 2]),
        ),
    ),
    "torch.nn.functional.native_channel_shuffle": (_call(_some(2, 4, 3, 3), 2),),
}
