"""Checkpoints: every kind that is read, what is refused, and in which words."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from lrpc.errors import WeightsError
from lrpc.models.serialize import distinct
from lrpc.models.weights import file_sha256, load_weights, save_weights, serialize_weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that error texts hold relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(path: str) -> str:
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    return str(caught.value)


def sample() -> dict[str, Tensor]:
    shared = torch.arange(6.0).reshape(2, 3)
    return {"b.weight": shared, "a.weight": shared, "c": torch.tensor([1, 2]), "d": shared.T}


class Hostile:
    """Pickles into a call of os.system."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch ran",)


# Reading


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"model": w, "iteration": 3}])
def test_torch_checkpoint_keeps_values_and_sharing(folder: Path, suffix: str, wrap: Any) -> None:
    torch.save(wrap(sample()), f"m{suffix}")
    loaded = load_weights(f"m{suffix}")
    assert {k: v.tolist() for k, v in loaded.items()} == {
        k: v.tolist() for k, v in sample().items()
    }
    assert loaded["a.weight"].data_ptr() == loaded["b.weight"].data_ptr()


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_values_beside_the_model_are_allowed_by_name(folder: Path, zipped: bool) -> None:
    scheduler = {"best": np.float64(3.0), "step": np.int64(4), "ok": np.bool_(True)}
    content = {"model": sample(), "scheduler": scheduler, "history": np.arange(3)}
    torch.save(content, "m.pth", _use_new_zipfile_serialization=zipped)
    before = set(torch.serialization.get_safe_globals())
    assert load_weights("m.pth")["c"].tolist() == [1, 2]
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"model": w, "__author__": "x"}])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_detectron2_pickle(folder: Path, protocol: int, wrap: Any) -> None:
    arrays = {
        "stem.conv1.weight": np.arange(4, dtype=np.float32).reshape(2, 2),
        "res2.0.conv1.norm.weight": np.array([1.5], dtype=">f8"),
        "step": np.float32(2),
    }
    Path("m.pkl").write_bytes(pickle.dumps(wrap(arrays), protocol))
    loaded = load_weights("m.pkl")
    assert loaded["stem.conv1.weight"].tolist() == [[0, 1], [2, 3]]
    assert loaded["res2.0.conv1.norm.weight"].dtype == torch.float64
    assert loaded["step"].shape == ()


def test_pickle_written_by_python_2(folder: Path) -> None:
    stream = (
        b"}U\x01wcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(U\x02f4I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntbI00\n"
        b"U\x08\x00\x00\x80\x3f\x00\x00\xe0\xbftbs."
    )
    Path("m.pkl").write_bytes(stream)
    assert load_weights("m.pkl")["w"].tolist() == [1.0, -1.75]


# Writing


def test_safetensors_stores_each_tensor_once(folder: Path) -> None:
    save_weights("m.safetensors", sample(), {"licence": "CC0"})
    with safe_open("m.safetensors", framework="pt") as file:
        assert set(file.keys()) == {"a.weight", "c", "d"}
        assert file.metadata() == {"aliases": '{"b.weight":"a.weight"}', "licence": "CC0"}
    loaded = load_weights("m.safetensors")
    assert {k: v.tolist() for k, v in loaded.items()} == {
        k: v.tolist() for k, v in sample().items()
    }
    assert loaded["a.weight"] is loaded["b.weight"]
    assert os.listdir() == ["m.safetensors"]


def test_no_weights_at_all(folder: Path) -> None:
    save_weights("m.safetensors", {})
    assert load_weights("m.safetensors") == {}


def test_bytes_depend_on_content_alone(folder: Path) -> None:
    code = (
        "import torch; from lrpc.models.weights import save_weights;"
        "t = {n: torch.arange(3.) for n in 'abcdef'}; t['z'] = t['a'];"
        "save_weights('other.safetensors', t, {k: k for k in 'qwertyuiop'})"
    )
    one = torch.arange(3.0)
    tensors = dict.fromkeys("fedcba", one)
    save_weights("m.safetensors", tensors | {"z": one.clone()}, {k: k for k in "poiuytrewq"})
    subprocess.run([sys.executable, "-c", code], check=True)
    assert file_sha256("m.safetensors") == file_sha256("other.safetensors")


def test_the_bytes_are_those_of_the_library() -> None:
    kinds = (torch.bool, torch.int8, torch.bfloat16, torch.int64, torch.float64, torch.complex64)
    pairs = ((kind, i) for kind in kinds for i in (1, 0))
    tensors = {f"{i}{kind}": torch.arange(6).sub(i).reshape(2, 3).to(kind) for kind, i in pairs}
    alike = torch.arange(600.0)
    tensors |= {"none": torch.zeros(0, 3), "one": torch.ones(()), "minus": -torch.zeros(4)}
    tensors |= {"turned": torch.randn(4, 5).t().contiguous(), "long": alike, "longer": alike + 1}
    assert serialize_weights(tensors) == safetensors.torch.save(tensors)
    last = alike.clone()
    last[-1] = 0
    stored, aliases = distinct({"a": alike, "b": alike.clone(), "c": last})
    assert (list(stored), aliases) == (["a", "c"], {"b": "a"})


def test_failed_write_leaves_nothing(folder: Path) -> None:
    Path("m.safetensors").mkdir()
    with pytest.raises(WeightsError) as caught:
        save_weights("m.safetensors", sample())
    assert str(caught.value) == "m.safetensors: cannot be written: is a directory"
    assert os.listdir() == ["m.safetensors"]
    with pytest.raises(WeightsError, match=r"^the metadata key \"aliases\" is taken; rename"):
        save_weights("n", sample(), {"aliases": ""})


# Refusals


def test_missing_unknown_and_remote_files(folder: Path) -> None:
    for name in ("m.pth", "m.pkl", "m.safetensors"):
        assert error_of(name) == f"{name}: no such file or directory; check the path"
    Path("d.safetensors").mkdir()
    assert error_of("d.safetensors") == "d.safetensors: is a directory; check the path"
    assert error_of("m.onnx") == (
        "m.onnx: unknown kind of file; "
        "expected .pth, .pt, .ckpt, .bin, .pkl, .safetensors or NAME.index.json"
    )
    url = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
    assert error_of(url) == (f"{url}: is not a file; download it and set MODEL.WEIGHTS to its path")


@pytest.mark.parametrize(
    ("name", "kind"), [("m.pth", "checkpoint"), ("m.pkl", "pickle"), ("m.safetensors", "st")]
)
def test_truncated_and_corrupt_files(folder: Path, name: str, kind: str) -> None:
    save_weights("w.safetensors", sample())
    whole = {
        "checkpoint": lambda: torch.save(sample(), name),
        "pickle": lambda: Path(name).write_bytes(pickle.dumps({"w": np.ones(9)})),
        "st": lambda: Path("w.safetensors").rename(name),
    }
    whole[kind]()
    data = Path(name).read_bytes()
    for damaged in (b"", data[:1], data[: len(data) // 2], data[:-1], b"\x80\x09" + data[2:]):
        Path(name).write_bytes(damaged)
        message = error_of(name)
        assert message.startswith(f"{name}: not a ")
        assert message.endswith("; get an intact copy")
        assert "\n" not in message


@pytest.mark.parametrize("name", ["m.pkl", "m.pth"])
def test_hostile_pickle_does_not_run(folder: Path, name: str) -> None:
    system = f"{os.system.__module__}.system"
    for content, line in (
        ({"model": {"w": Hostile()}}, f"w is no tensor but {system}; save the model's state dict"),
        ({"model": Hostile()}, f"model is no state dict but {system}; save model.state_dict()"),
        (Hostile(), f"is no state dict but {system}; save model.state_dict()"),
        ({"model": {"w": np.ones(2)}, "args": Hostile()}, ""),
    ):
        if name == "m.pkl":
            Path(name).write_bytes(pickle.dumps(content))
        else:
            torch.save(content, name)
        if line:
            assert error_of(name) == f"{name}: {line}"
        else:
            assert load_weights(name)["w"].tolist() == [1, 1]
        assert os.listdir() == [name]


@pytest.mark.parametrize("call", ["(S'x'\ntR", "(S'x'\nt\x81", "(S'x'\nt}\x92", "}b", ""])
@pytest.mark.parametrize("target", ["trap.f", "numpy.load", "builtins.eval", "torch.hub.load"])
def test_names_that_are_not_known_stay_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch, target: str, call: str
) -> None:
    """Whatever calls, makes or fills it, nothing is imported and nothing runs."""
    monkeypatch.syspath_prepend(folder)
    Path("trap.py").write_text("raise SystemExit('imported')")
    module, _, function = target.rpartition(".")
    Path("m.pkl").write_bytes(f"c{module}\n{function}\n{call}.".encode("latin1"))
    assert error_of("m.pkl") == f"m.pkl: is no state dict but {target}; save model.state_dict()"


def test_content_that_is_no_state_dict(folder: Path) -> None:
    torch.save([1, 2], "m.pth")
    assert error_of("m.pth") == "m.pth: holds no tensors by name; save the model's state dict"
    torch.save({"model": {"w": torch.ones(1), "lr": 0.1}}, "m.pth")
    assert error_of("m.pth") == "m.pth: lr is no tensor but float; save the model's state dict"
    Path("m.pkl").write_bytes(pickle.dumps({"w": np.array([None])}))
    assert error_of("m.pkl") == "m.pkl: w is a NumPy array of objects; save the model's state dict"


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
def test_values_that_are_not_finite(folder: Path, name: str) -> None:
    weights = {"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan, torch.inf]).half()}
    weights["c"] = torch.tensor([torch.inf])
    if name == "m.pth":
        torch.save(weights, name)
    else:
        save_weights(name, weights)
    assert error_of(name) == (
        f"{name}: NaN or infinity in b (2 of 3 values) and 1 other tensors; get an intact copy"
    )


def test_aliases_that_do_not_fit(folder: Path) -> None:
    from safetensors.torch import save_file

    for text in ("nonsense", "[1]", json.dumps({"b": "gone"})):
        save_file({"a": torch.ones(1)}, "m.safetensors", {"aliases": text})
        assert error_of("m.safetensors") == (
            'm.safetensors: the metadata entry "aliases" does not fit the file; write it anew'
        )
