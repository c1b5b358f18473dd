"""The whole MaskDINO, embedded and released: what is imported computes what the model does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lrpc.config import load_config
from lrpc.frontend import Imported, import_model
from lrpc.ir.interpreter import interpret
from lrpc.models.maskdino import build_maskdino
from lrpc.models.sources import build_model
from lrpc.runtime.results import rebuild
from tests.models.test_maskdino_model import small_config
from tests.support.maskdino_cases import digits_image, digits_model
from tests.support.released import require_released

EXAMPLE = Path(__file__).parents[2] / "examples" / "maskdino.yaml"
SMALL = (
    *("MODEL.WEIGHTS", "", "LRPC.INIT_SEED", "3"),
    *("MODEL.MaskDINO.DEC_LAYERS", "2", "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", "1"),
    *("MODEL.MaskDINO.NUM_OBJECT_QUERIES", "12"),
)


def images(batch: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, 64, 96, generator=generator, dtype=dtype) * 255


def errors(model: nn.Module, imported: Imported, **inputs: Tensor) -> dict[str, float]:
    """The largest deviation of every output, relative to its largest value."""
    module = imported.module
    found = rebuild(imported.structure, interpret(module.graph, module.tensors, inputs))
    with torch.no_grad():
        expected = model(**inputs)
    return {k: float((found[k] - v).abs().max() / v.abs().max()) for k, v in expected.items()}


def test_digits() -> None:
    model = digits_model(torch.float64)
    imported = import_model(model, {"images": digits_image("02").double()})
    graph = imported.module.graph
    assert imported.decisions == ()
    assert imported.structure == {
        "dict": {k: k for k in ("pred_logits", "pred_boxes", "pred_masks")}
    }
    assert all(node.loc.module and node.loc.line for node in graph.nodes)
    assert all(node.loc.file.startswith("lrpc/models/maskdino/") for node in graph.nodes)
    named = {name for name in imported.module.tensors if not name.startswith("constant.")}
    assert named - set(model.state_dict()) == {"normalize.mean", "normalize.std"}
    both = torch.cat([digits_image("05"), digits_image("07")]).double()
    for batch in (both[:1], both):
        assert max(errors(model, imported, images=batch).values()) < 1e-10


@pytest.mark.parametrize("changes", [
    {},
    {"SEM_SEG_HEAD__TOTAL_NUM_FEATURE_LEVELS": 5},
    {"MaskDINO__LEARN_TGT": True},
    {"MaskDINO__TWO_STAGE": False, "MaskDINO__INITIALIZE_BOX_TYPE": "no"},
], ids=str)  # fmt: skip
def test_configurations(changes: dict[str, object]) -> None:
    model = build_maskdino(small_config(**changes)).double()
    imported = import_model(model, {"images": images(1, 0)})
    assert max(errors(model, imported, images=images(3, 1)).values()) < 1e-10


def test_padding_mask_is_an_input() -> None:
    model = build_maskdino(small_config()).double()
    mask = torch.zeros(2, 64, 96, dtype=torch.bool)
    mask[0, 48:], mask[1, :, 80:] = True, True
    imported = import_model(model, {"images": images(2, 0), "padding_mask": mask})
    assert imported.decisions == ()
    given = {"images": images(2, 1), "padding_mask": mask.flip(0)}
    assert max(errors(model, imported, **given).values()) < 1e-10


@pytest.mark.parametrize("scope", [
    "sem_seg_head.pixel_decoder.transformer.encoder.layers.0",
    "sem_seg_head.predictor.decoder.layers.1",
    "sem_seg_head.predictor.decoder",
    "sem_seg_head",
    "backbone.res2",
])  # fmt: skip
def test_scopes(scope: str) -> None:
    model = build_maskdino(small_config()).double()
    seen: list[object] = []
    handle = model.get_submodule(scope).register_forward_hook(
        lambda _, args, out: seen.append(out), always_call=False
    )
    imported = import_model(model, {"images": images(1, 0)}, scope=scope)
    seen.clear()
    graph = imported.module.graph
    places = {f"in{i}": f"{scope}@0:in{i}" for i in range(len(graph.inputs))}
    whole = import_model(model, {"images": images(1, 0)}, places=places).module
    values = interpret(whole.graph, whole.tensors, {"images": images(2, 1)}, keep=True)
    # Inputs of the scope that are constants of the whole have one image's shape there.
    given = {
        v.name: values[value.name].expand(v.type.sized({"B": 2}))
        for v, (_, value) in zip(graph.inputs, whole.graph.places, strict=True)
    }
    found = interpret(graph, imported.module.tensors, given)
    seen.clear()
    with torch.no_grad():
        model(images(2, 1))
    handle.remove()
    expected = leaves(seen[0])
    for a, b in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def leaves(tree: object) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree
    return [x for part in parts for x in leaves(part)]  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore")
def test_released() -> None:
    """The released code computes in float32 whatever it is given, hence the tolerance."""
    require_released()
    config = load_config(EXAMPLE, (*SMALL, "LRPC.SOURCE", "detectron2"))
    model = build_model(config)[0]
    imported = import_model(model, {"images": images(1, 0, torch.float32)})
    assert imported.decisions == ()
    ops = [node.op for node in imported.module.graph.nodes]
    assert ops.count("deformable_attention") == 3
    assert ops.count("multi_head_attention") == 2
    assert ops.count("masks_to_boxes") == 1
    given = images(2, 1, torch.float32)
    assert max(errors(model, imported, images=given).values()) < 1e-4
