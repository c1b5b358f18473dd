"""Checkpoints as training code leaves them: where the weights are, and under which names."""

from __future__ import annotations

import json
import pickle
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lrpc.errors import WeightsError
from lrpc.models.fitting import fill
from lrpc.models.weights import load_weights, read_weights, save_weights, weights_sha256

OWN, AVERAGE = {"a": torch.tensor([1.0])}, {"a": torch.tensor([2.0])}
BESIDE = "averaged weights (EMA) lie beside it: LRPC.WEIGHTS_ENTRY"


def read(folder: Path, content: Any, entry: str = "") -> tuple[float, str]:
    """The value of "a" in the checkpoint, and the note."""
    torch.save(content, folder / "m.ckpt")
    loaded = read_weights(folder / "m.ckpt", entry)
    return float(loaded.tensors["a"]), loaded.note


def refused(folder: Path, content: Any, entry: str = "") -> str:
    with pytest.raises(WeightsError) as caught:
        read(folder, content, entry)
    return str(caught.value).removeprefix(f"{folder / 'm.ckpt'}: ")


# -- entries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["state_dict", "model", "model_state", "model_state_dict", "params", "net", "weights"]
)
def test_the_models_own_weights_are_found(tmp_path: Path, key: str) -> None:
    rest = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "loss": [0.5]}
    assert read(tmp_path, {**rest, key: OWN}) == (1.0, "")
    assert read(tmp_path, {"model": {**rest, key: OWN}}) == (1.0, "")
    assert read(tmp_path, {**rest, "generator": OWN}) == (1.0, "")  # the only one that there is


@pytest.mark.parametrize(
    "key", ["ema_state", "model_ema", "ema", "ema_state_dict", "state_dict_ema", "ema_model"]
)
def test_averaged_weights_beside_the_models(tmp_path: Path, key: str) -> None:
    both = {key: {"module": AVERAGE, "decay": 0.99}, "model": OWN}
    assert read(tmp_path, both) == (1.0, f"entry model; {BESIDE} {key} takes them")
    assert read(tmp_path, both, key) == (2.0, f"entry {key}.module")
    assert read(tmp_path, both, "model") == (1.0, "entry model")
    assert read(tmp_path, both | {key: AVERAGE}, key) == (2.0, f"entry {key}")
    alone = "which is a running average (EMA): the file has no other state dict"
    assert read(tmp_path, {key: AVERAGE, "epoch": 1}) == (2.0, f"entry {key}, {alone}")


def test_an_entry_inside_another_and_a_prefix_of_names(tmp_path: Path) -> None:
    inside = {"checkpoint": {"model": OWN, "ema": {"state_dict": AVERAGE}}}
    assert read(tmp_path, inside, "checkpoint.ema") == (2.0, "entry checkpoint.ema.state_dict")
    named = {"model.a": OWN["a"], "ema_model.module.a": AVERAGE["a"]}
    expected = (2.0, "entry ema_model.module")
    assert read(tmp_path, {"state_dict": named}, "ema_model.module") == expected
    save_weights(tmp_path / "m.safetensors", named)
    flat = read_weights(tmp_path / "m.safetensors", "ema_model.module").tensors
    assert {name: float(value) for name, value in flat.items()} == {"a": 2.0}


def test_entries_that_are_not_there(tmp_path: Path) -> None:
    assert refused(tmp_path, {"model": OWN, "ema": AVERAGE}, "emma") == (
        "has no entry 'emma'; it has model, ema: correct LRPC.WEIGHTS_ENTRY"
    )
    assert refused(tmp_path, OWN, "ema") == (
        "has no entry 'ema'; it is one set of weights: correct LRPC.WEIGHTS_ENTRY"
    )
    assert refused(tmp_path, {"teacher": OWN, "student": AVERAGE}) == (
        "holds several sets of weights (teacher, student); name one in LRPC.WEIGHTS_ENTRY"
    )
    assert read(tmp_path, {"teacher": OWN, "student": AVERAGE}, "student")[0] == 2.0
    assert refused(tmp_path, {"model": {}}) == (
        "holds no tensors by name; save the model's state dict"
    )


# -- names -----------------------------------------------------------------------------------------


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(backbone=nn.Linear(2, 3), head=nn.Linear(3, 2)))


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "module.model.", "_orig_mod.", "net.", "a.b.c."]
)
def test_a_prefix_of_all_names_is_left_out(prefix: str) -> None:
    model, trained = small(), small()
    nn.init.ones_(trained.backbone.weight)
    given = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
    assert fill(model, given) == f"the prefix '{prefix}' of names is left out"
    assert torch.equal(model.backbone.weight, torch.ones(3, 2))
    assert fill(model, trained.state_dict()) == ""


def test_a_prefix_that_belongs_to_the_model_stays() -> None:
    model = nn.Sequential(OrderedDict(model=small()))
    assert fill(model, model.state_dict()) == ""


def test_names_of_a_wrapper_beside_the_models() -> None:
    averaged = AveragedModel(small())
    assert fill(small(), averaged.state_dict()) == (
        "the prefix 'module.' of names is left out, and 1 name without it"
    )
    both = {f"ema.{n}": v + 1 for n, v in small().state_dict().items()}
    both |= {f"online.{n}": v for n, v in small().state_dict().items()}
    model = small()
    assert fill(model, both) == (
        "the prefix 'online.' of names is left out, and 4 names without it; "
        "'ema' fits too: LRPC.WEIGHTS_ENTRY ema takes it"
    )
    assert torch.equal(model.head.bias, small().head.bias)


# -- files -----------------------------------------------------------------------------------------


def as_lists(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: (value.dtype, value.tolist()) for name, value in tensors.items()}


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_writes_is_what_is_read(tmp_path: Path, zipped: bool) -> None:
    """Every type, shared and strided memory, parameters, attributes, and what lies beside them."""
    base = torch.arange(24).reshape(4, 6)
    state: dict[str, Any] = {
        str(dtype): base.to(dtype)
        for dtype in (
            *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
            *(torch.int8, torch.int16, torch.int32, torch.int64),
            *(torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.complex64),
        )
    }
    state |= {"view": base[1:, ::2].T, "scalar": torch.tensor(3.5), "none": torch.empty(0, 3)}
    state |= {"parameter": nn.Parameter(torch.ones(2)), "buffer": nn.Buffer(torch.ones(2))}
    marked = nn.Parameter(torch.zeros(2))
    marked.is_bias = True  # type: ignore[attr-defined]
    state["marked"] = marked
    norm = nn.BatchNorm1d(2)
    state |= {f"norm.{name}": value for name, value in norm.state_dict().items()}
    beside = {
        "milestones": Counter([3, 3]),
        "size": base.shape,
        "kind": torch.float32,
        "place": torch.device("cpu"),
        "names": {"a", "b"},
        "best": np.float64(1),
        "history": np.arange(3),
        "deep": ([{"x": (None, True, b"y", 1.5, 2**70)}],),
    }
    content = {"model": OrderedDict(state), "norm": norm.state_dict(), **beside}
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    assert as_lists(load_weights(tmp_path / "m.pt")) == as_lists(state)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"c": base, "f": np.asfortranarray(base), "big": base.astype(">i4"), "s": base[0, 1]}
    arrays |= {"half": base.astype(np.float16), "bool": base > 2, "empty": base[:0]}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(arrays, protocol))
    loaded = load_weights(tmp_path / "m.pkl")
    assert {k: v.tolist() for k, v in loaded.items()} == {k: v.tolist() for k, v in arrays.items()}


def test_a_mapping_in_the_words_of_python_2(tmp_path: Path) -> None:
    array = pickle.dumps(np.ones(2), 0)[:-1].decode("latin1")
    text = f"(dS'model'\nccollections\nOrderedDict\n((l(lS'w'\na{array}aatRs."
    (tmp_path / "m.pkl").write_bytes(text.encode("latin1"))
    assert load_weights(tmp_path / "m.pkl")["w"].tolist() == [1.0, 1.0]


def test_shards_and_their_index(tmp_path: Path) -> None:
    save_weights(tmp_path / "one.safetensors", {"a": torch.ones(1), "unlisted": torch.ones(1)})
    torch.save({"b": torch.zeros(1)}, tmp_path / "two.bin")
    index = tmp_path / "model.safetensors.index.json"
    files = {"a": "one.safetensors", "b": "two.bin"}
    index.write_text(json.dumps({"weight_map": files}))
    assert {k: v.tolist() for k, v in load_weights(index).items()} == {"a": [1.0], "b": [0.0]}
    before = weights_sha256(index)
    torch.save({"b": torch.ones(1)}, tmp_path / "two.bin")
    assert weights_sha256(index) != before
    for wrong, line in (
        ({"a": "../one.safetensors"}, "not an index of shards"),
        ({"a": index.name}, "not an index of shards"),
        ({"b": "one.safetensors"}, "one.safetensors lacks b; get an intact copy"),
        ({"a": "three.bin"}, f"{tmp_path / 'three.bin'}: no such file or directory; check the pa"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(WeightsError) as caught:
            load_weights(index)
        assert str(caught.value).startswith(f"{index}: {line}")
