"""What programs hold for each operation: templates of expressions, one row for each op."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Emission:
    """The text of an operation: a format string over `{0}`, `{1}`, … (inputs), `{inputs}` (all of
    them), `{kept}` (the arguments `, PART, NAME` that say where the state keeps a part of the work,
    or nothing) and attribute names.

    `over` has, operand by operand, the text that writes the same result over that operand. `{more}`
    stands for those of the attributes `more` that are not as given there, by keyword; `{affine}`
    for weight and bias, `{weights}` for the same without a bias that is None. `called` is
    what rules' results of it are called, where not as the operation.
    """

    text: str
    over: tuple[str, ...] = ()
    more: tuple[tuple[str, object], ...] = ()
    called: str = ""


CONV = (("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (1, 1)), ("groups", 1))

EMISSION: dict[str, Emission] = {
    "add": Emission("{0} + {1}", over=("{0}.add_({1})", "{1}.add_({0})"), called="total"),
    "sub": Emission("{0} - {1}", over=("{0}.sub_({1})",), called="rest"),
    "mul": Emission("{0} * {1}", over=("{0}.mul_({1})", "{1}.mul_({0})"), called="product"),
    "div": Emission("{0} / {1}", over=("{0}.div_({1})",)),
    "scale": Emission("{0} * {by}", over=("{0}.mul_({by})",), called="scaled"),
    "shift": Emission("{0} + {by}", over=("{0}.add_({by})",)),
    "reciprocal": Emission("{0}.reciprocal()", over=("{0}.reciprocal_()",)),
    "pow": Emission("{0} ** {exponent}", over=("{0}.pow_({exponent})",)),
    "exp": Emission("{0}.exp()", over=("{0}.exp_()",)),
    "log": Emission("{0}.log()", over=("{0}.log_()",)),
    "log1p": Emission("{0}.log1p()", over=("{0}.log1p_()",)),
    "erf": Emission("{0}.erf()", over=("{0}.erf_()",)),
    "sqrt": Emission("{0}.sqrt()", over=("{0}.sqrt_()",)),
    "sin": Emission("{0}.sin()", over=("{0}.sin_()",)),
    "cos": Emission("{0}.cos()", over=("{0}.cos_()",)),
    "abs": Emission("{0}.abs()", over=("{0}.abs_()",), called="size"),
    "relu": Emission("F.relu({0})", over=("{0}.relu_()",)),
    "leaky_relu": Emission(
        "F.leaky_relu({0}, {slope})", over=("F.leaky_relu({0}, {slope}, inplace=True)",)
    ),
    "relu6": Emission("F.relu6({0})"),
    "elu": Emission("F.elu({0})"),
    "gelu": Emission("F.gelu({0}, approximate={approximate})"),
    "silu": Emission("F.silu({0})", over=("F.silu({0}, inplace=True)",)),
    "hardswish": Emission("F.hardswish({0})"),
    "mish": Emission("F.mish({0})"),
    "centred_softplus": Emission("F.softplus({0}) - 0.6931471805599453"),
    "sigmoid": Emission("{0}.sigmoid()", over=("{0}.sigmoid_()",)),
    "tanh": Emission("{0}.tanh()", over=("{0}.tanh_()",)),
    "clamp": Emission("{0}.clamp({min}, {max})", over=("{0}.clamp_({min}, {max})",)),
    "detach": Emission("{0}"),
    "cast": Emission("{0}.to({dtype})"),
    "compare": Emission("torch.{kind:bare}({0}, {1})"),
    "compare_scalar": Emission("torch.{kind:bare}({0}, {value})", called="mask"),
    "logical": Emission("torch.logical_{kind:bare}({0}, {1})"),
    "logical_not": Emission("{0}.logical_not()"),
    "where": Emission("torch.where({0}, {1}, {2})"),
    "masked_fill": Emission(
        "{0}.masked_fill({1}, {value})", over=("{0}.masked_fill_({1}, {value})",)
    ),
    "reshape": Emission("{0}.{form}"),
    "permute": Emission("{0}.permute({dims})"),
    "expand": Emission("{0}.expand({shape})"),
    "cat": Emission("torch.cat([{inputs}], {dim})"),
    "slice": Emission("{0}[{slice}]"),
    "pad": Emission("F.pad({0}, {pad}, value={value})"),
    "flip": Emission("{0}.flip({dims})"),
    "gather": Emission("{0}.gather({dim}, {1})"),
    "topk": Emission("torch.topk({0}, {k}, {dim})"),
    "constant": Emission("{weight}", called="weight"),
    "full": Emission("torch.full({shape}, {value}, dtype={dtype}, device=device)"),
    "arange": Emission("torch.arange({size}, dtype={dtype}, device=device)"),
    "sum": Emission("{0}.sum({dims}, {keepdim})"),
    "mean": Emission("{0}.mean({dims}, {keepdim})"),
    "amax": Emission("{0}.amax({dims}, {keepdim})"),
    "amin": Emission("{0}.amin({dims}, {keepdim})"),
    "any": Emission("torch.any({0}, {dims}, {keepdim})"),
    "all": Emission("torch.all({0}, {dims}, {keepdim})"),
    "scatter_sum": Emission("gather_transpose({0}, {1}, {dim}, {size})"),
    "rounded": Emission("{0}.{kind:bare}()", over=("{0}.{kind:bare}_()",)),
    "argsort": Emission("{0}.sort(stable=True, dim={dim}, descending={descending})[1]"),
    "last_place": Emission("last_place({0}, {dim}, {size})"),
    "cumsum": Emission("{0}.cumsum({dim})"),
    "linear": Emission("linear({0}, {weights})"),
    "conv2d": Emission("F.conv2d({0}, {weights}{more})", more=CONV),
    "conv_transpose2d": Emission(
        "F.conv_transpose2d({0}, {weights}{more})",
        more=(*CONV, ("output_padding", (0, 0))),
    ),
    "batch_norm": Emission("F.batch_norm({0}, {mean}, {var}, {affine}, False, 0.0, {eps})"),
    "layer_norm": Emission("F.layer_norm({0}, {0}.shape[-1:], {affine}, {eps})"),
    "rms_norm": Emission("F.rms_norm({0}, {0}.shape[-1:], {weight}, {eps})"),
    "embedding": Emission("F.embedding({0}, {weight})"),
    "group_norm": Emission("torch.group_norm({0}, {groups}, {affine}, {eps})"),
    "softmax": Emission("softmax_along({0}, {dim})"),
    "matmul": Emission("{0} @ {1}"),
    "einsum": Emission("torch.einsum({equation}, {0}, {1})"),
    "max_pool2d": Emission(
        "F.max_pool2d({0}, {kernel}, {stride}, {padding}, {dilation}, {ceil}, return_indices=True)"
    ),
    "avg_pool2d": Emission(
        "avg_pool2d({0}, {kernel}, {stride}, {padding}, {ceil}, {uncounted}, {divisor})"
    ),
    "interpolate": Emission("interpolate({0}, {size}, {mode}, {align_corners})"),
    "deform_sample": Emission("deform_sample({0}, {1}, {2}, {levels}{kept})"),
    "deform_splat": Emission("deform_splat({0}, {1}, {2}, {levels}{kept})"),
    "deform_spread": Emission("deform_spread({0}, {1}, {2}, {levels}{kept})"),
    "deform_weight_transpose": Emission("deform_weight_transpose({0}, {1}, {2}, {levels}{kept})"),
    "deform_location_transpose": Emission(
        "deform_location_transpose({0}, {1}, {2}, {3}, {levels}{kept})"
    ),
    "grid_sample": Emission("grid_sample({0}, {1}, {mode}, {padding}, {align_corners})"),
    "grid_sample_transpose": Emission(
        "grid_sample_transpose({0}, {1}, {size}, {mode}, {padding}, {align_corners})"
    ),
    "grid_sample_location_transpose": Emission(
        "grid_sample_location_transpose({0}, {1}, {2}, {mode}, {padding}, {align_corners})"
    ),
    "masks_to_boxes": Emission("masks_to_boxes({0}, {convention})"),
    "stab_ratio": Emission("stab_ratio({0}, {eps})"),
    "stab_mul": Emission(
        "stab_mul({0}, {1}, {eps})", over=("stab_mul({0}, {1}, {eps}, over=True)",)
    ),
    "ratio": Emission("ratio({0}, {1}, {eps})", called="share"),
    "add_product": Emission(
        "torch.addcmul({0}, {1}, {2})", over=("{0}.addcmul_({1}, {2})",), called="total"
    ),
    # Of finite entries; a blend by a weight of 0 or 1, for CPUs mispredict choices between entries.
    "choose": Emission("torch.lerp({2}, {1}, {0}.to({1}.dtype))"),
    "linear_transpose": Emission("linear_transpose({0}, {weight})"),
    "conv2d_transpose": Emission("conv2d_transpose({0}, {weight}, {size}{more})", more=CONV),
    "conv_transpose2d_transpose": Emission(
        "conv_transpose2d_transpose({0}, {weight}, {size}{more})", more=CONV
    ),
    "avg_pool2d_transpose": Emission(
        "avg_pool2d_transpose({0}, {size}, {kernel}, {stride}, {padding}, {ceil}, {uncounted}, "
        "{divisor})"
    ),
    "interpolate_transpose": Emission(
        "interpolate_transpose({0}, {source}, {mode}, {align_corners})"
    ),
    "max_pool2d_transpose": Emission("max_pool2d_transpose({0}, {1}, {size})"),
    "gather_transpose": Emission("gather_transpose({0}, {1}, {dim}, {size})"),
    "slice_transpose": Emission("slice_transpose({0}, {dim}, {start}, {step}, {size})"),
    "rstd": Emission("rstd({0}, {eps}, {groups})", called="inverse_std"),
    "reciprocal_rms": Emission("reciprocal_rms({0}, {eps})"),
    "layer_norm_transpose": Emission("layer_norm_transpose({0}, {1}, {weight})"),
    "group_norm_transpose": Emission("group_norm_transpose({0}, {1}, {groups}, {weight})"),
    "norm_gradient": Emission("norm_gradient({0}, {1}, {weight}, {groups}, {eps})"),
    "softmax_transpose": Emission("softmax_transpose({0}, {1}, {dim})"),
    "softmax_jacobian": Emission("softmax_jacobian({0}, {dim})"),
    "gate": Emission("{0} * {1}", over=("{0}.mul_({1})",)),
    "leaky_relu_gate": Emission("torch.where({1} > 0, {0}, {slope} * {0})"),
    "gelu_ratio": Emission("gelu_ratio({0}, {approximate})"),
    "sigmoid_ratio": Emission("sigmoid_ratio({0})"),
    "tanh_ratio": Emission("tanh_ratio({0})"),
    "relu6_ratio": Emission("relu6_ratio({0})"),
    "elu_ratio": Emission("elu_ratio({0})"),
    "hardswish_ratio": Emission("F.hardsigmoid({0})"),
    "mish_ratio": Emission("F.softplus({0}).tanh()"),
    "centred_softplus_ratio": Emission("centred_softplus_ratio({0})"),
    "abs_ratio": Emission("{0}.sign()", called="sign"),
    "exp_ratio": Emission("exp_ratio({0})"),
    "log1p_ratio": Emission("log1p_ratio({0})"),
    "erf_ratio": Emission("erf_ratio({0})"),
    "sin_ratio": Emission("sin_ratio({0})"),
    "cos_ratio": Emission("cos_ratio({0})"),
    "clamp_ratio": Emission("clamp_ratio({0}, {min}, {max})"),
    "clamp_gate": Emission("clamp_gate({0}, {1}, {min}, {max})"),
    "power_gradient": Emission("power_gradient({0}, {1}, {exponent}, {by})"),
    "activation_gradient": Emission("activation_gradient({0}, {1}, {kind})"),
}
