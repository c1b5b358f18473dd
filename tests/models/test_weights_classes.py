"""Checkpoints with values of classes that are not known: left out beside the state dict, refused in
it, and never imported."""

from __future__ import annotations

import argparse
import enum
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrpc.errors import WeightsError
from lrpc.models.weights import load_weights, read_weights
from tests.models.test_weights_hostile import description, entry, error_of, name, rezipped

STATE = {"a": torch.tensor([1.0])}
RECORDS = np.ones(1).view(np.recarray)


class Kind(enum.Enum):
    """Of a schedule."""

    STEP = 1


class Marked(Tensor):
    """A tensor of a class of its own."""


class Names(dict[str, Any]):
    """A mapping of a class of its own, as Lightning's hyperparameters are."""


class HistoryBuffer:
    """As mmengine logs into; its module is there only while a file is written."""

    __module__ = "absent_engine"

    def __init__(self) -> None:
        self._log_history = np.ones(3)


def written(path: Path, content: Any, zipped: bool = True) -> Path:
    module = ModuleType("absent_engine")
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    with patch.dict(sys.modules, absent_engine=module):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_code_leaves_beside_the_model(tmp_path: Path, zipped: bool) -> None:
    args = argparse.Namespace(lr=1e-4, output_dir=Path("out"), masks=True, aux=nn.Linear(2, 2))
    scheduler = {"milestones": Counter([3]), "anneal": max, "kind": Kind.STEP, "last": deque([1])}
    generator = np.random.default_rng(0)
    names = Names(layers=6, at=datetime(2024, 1, 2), inner=Names(width=2.5))
    names.extra = names  # type: ignore[attr-defined]
    for beside in (
        {"optimizer": {"state": {}, "param_groups": []}, "lr_scheduler": scheduler, "args": args},
        {"meta": {"cfg": names, "seed": 1}, "message_hub": {"log_scalars": {"x": HistoryBuffer()}}},
        {"hyper_parameters": names, "callbacks": {Path("best"): {"score": np.float32(1)}}},
        {"rng": [generator, np.random.RandomState(0), torch.Generator], "criterion": nn.MSELoss()},
        {"state": {"set": {1, 2}, "complex": 1j, "bytes": bytearray(b"x"), "device": "cpu"}},
        {"scaler": defaultdict(list, x=[RECORDS]), "t": STATE["a"].as_subclass(Marked)},
    ):  # fmt: skip
        loaded = load_weights(written(tmp_path / "m.pth", {**beside, "model": STATE}, zipped))
        assert {key: value.tolist() for key, value in loaded.items()} == {"a": [1.0]}
    assert "absent_engine" not in sys.modules


@pytest.mark.parametrize("protocol", range(6))
def test_classes_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    beside = [argparse.Namespace(x=Names(a=1)), Names(b=Kind.STEP), Path("x"), {1}, Names, 1j]
    content = {"args": beside, "model": {"a": np.ones(2)}}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(content, protocol))
    assert load_weights(tmp_path / "m.pkl")["a"].tolist() == [1, 1]


@pytest.mark.parametrize("operation", [b"(iabsent\nC\n", b"(cabsent\nC\no", b"(cabsent\nC\nK\x01o"])
def test_instances_as_python_2_writes_them(tmp_path: Path, operation: bytes) -> None:
    array = pickle.dumps(np.ones(2), 2)[2:-1]
    (tmp_path / "m.pkl").write_bytes(
        b"(dS'args'\n" + operation + b"(dS'x'\nI1\nsbsS'model'\n}U\x01a" + array + b"ss."
    )
    assert load_weights(tmp_path / "m.pkl")["a"].tolist() == [1, 1]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_model(tmp_path: Path, zipped: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    what = "no state dict but torch.nn.modules.container.Sequential; save model.state_dict()"
    for content, line in (
        (model, f"is {what}"),
        ({"metrics": STATE, "model": model}, f"model is {what}"),
        ({"epoch": 3, "state_dict": {"ema": model, "epoch": 3}}, f"state_dict.ema is {what}"),
    ):
        assert refused(written(tmp_path / "m.pt", content, zipped)) == line
    torch.save({"model": STATE, "ema": model}, tmp_path / "m.pt")
    with pytest.raises(WeightsError) as caught:
        read_weights(tmp_path / "m.pt", "ema")
    assert str(caught.value) == f"{tmp_path / 'm.pt'}: ema is {what}"


@pytest.mark.parametrize("zipped", [True, False])
def test_classes_in_the_state_dict(tmp_path: Path, zipped: bool) -> None:
    marked, alone = STATE["a"].as_subclass(Marked), "save the model's state dict"
    for value, line in (
        (argparse.Namespace(x=1), f"no tensor but argparse.Namespace; {alone}"),
        (HistoryBuffer(), f"no tensor but absent_engine.HistoryBuffer; {alone}"),
        (RECORDS, f"no tensor but {np.recarray.__module__}.recarray; {alone}"),
        (marked, f"a tensor of {__name__}.Marked; store it dense, in float32, with torch.save"),
        (torch.device("cpu"), f"no tensor but torch.device; {alone}"),
    ):
        content = {"args": None, "model": {**STATE, "b.c": value}}
        assert refused(written(tmp_path / "m.pth", content, zipped)) == f"b.c is {line}"
        extra = {"model": {**STATE, "b._extra_state": value}}
        assert list(load_weights(written(tmp_path / "m.pth", extra, zipped))) == ["a"]


def test_tensors_that_pickle_wrote(tmp_path: Path) -> None:
    line = "a is a tensor that pickle.dump wrote; store it dense, in float32, with torch.save"
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(OrderedDict(STATE)))
    assert refused(tmp_path / "m.pkl") == line


ABSENT = name("absent", "C")
TENSOR = name("torch._utils", "_rebuild_tensor_v2")
TYPED = name("torch._tensor", "_rebuild_from_type_v2")
ARRAY = name("numpy.core.multiarray", "_reconstruct")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (entry(TENSOR + b"(" + ABSENT + b"K\x00K\x01\x85K\x01\x85tR"), "a is no tensor but absent"),
        (entry(TYPED + b"(" + ABSENT + ABSENT + b")NtR"), "a is a tensor of absent.C; store it"),
        (entry(TYPED + b"(" + TENSOR + ABSENT + b")NtR"), "a is a tensor of absent.C; store it"),
        (entry(TYPED + b"(" + TENSOR + b"N)NtR"), "a is a tensor of no class of tensors; store"),
        (entry(name("torch._utils", "_rebuild_parameter") + ABSENT + b"\x85R"), "a is no tensor"),
        (entry(ARRAY + ABSENT + b"K\x00\x85U\x01b\x87R"), "a is no tensor but absent.C; save the"),
        (entry(ARRAY + b"NK\x00\x85U\x01b\x87R"), "an array is of no class of arrays"),
        (entry(name("numpy", "dtype") + ABSENT + b"\x85R"), "a is no tensor but an array type"),
        (b"\x80\x04}" + ABSENT + b"Ns.", "a tensor's name is not text"),
        (b"\x80\x04}q\x00" + ABSENT + b"h\x00s.", "a tensor's name is not text"),
        (entry(ABSENT + b"Q"), "it refers to data outside of it"),
        (b"\x80\x04" + name("collections", "OrderedDict") + ABSENT + b"\x85R.", "holds no tensors"),
        (entry(ABSENT + b"(K\x01e(K\x01K\x02uNaK\x01Ns}b"), "a is no tensor but absent"),
        (entry(ABSENT + b"(K\x01u"), "a mapping lacks a value"),
        (entry(ABSENT + b"NR"), "a is no tensor but absent.C"),
        (entry(b"(o"), "it calls what cannot be called"),
        (entry(name("torch", "Size") + b")}\x92"), "it calls what cannot be called"),
        (entry(b"c\xe2\x80\xae\nC\nN\x81"), "a is no tensor but '\\u202e.C'; save the model's"),
        (entry(name("absent", "C" * 300)), "a name is too long"),
    ],
)  # fmt: skip
def test_classes_where_a_stream_needs_another_value(tmp_path: Path, data: bytes, line: str) -> None:
    assert line in error_of(tmp_path / "m.pkl", data)


def test_a_storage_of_a_class_that_is_not_known(tmp_path: Path) -> None:
    known, absent = b"ctorch\nFloatStorage\n", b"cabsent\nStorage\n"
    line = "a is a tensor in absent.Storage; store it dense, in float32, with torch.save"
    assert error_of(tmp_path / "m.pth", rezipped(description(known, absent))) == line
    old = written(tmp_path / "m.pth", STATE, zipped=False).read_bytes()
    line = "has values in absent.Storage; store them in float32, with torch.save"
    assert error_of(tmp_path / "m.pth", old.replace(known, absent)) == line


def test_names_take_no_more_than_the_file(tmp_path: Path) -> None:
    text = b"\x8c" + bytes([100]) + b"n" * 100
    names = text + b"q\x00" + text + b"q\x01" + b"h\x00h\x01\x93" * 20_000
    assert "ends too early" in error_of(tmp_path / "m.pkl", b"\x80\x04" + names)
