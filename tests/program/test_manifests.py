"""A manifest is data that may come from anyone: checked before use, and nothing it names is run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lrpc
from lrpc.commands.bench.rebuilt import original
from lrpc.compiler import compile_graph
from lrpc.errors import LrpcError, ProgramError
from lrpc.program.loading import load_program
from lrpc.program.manifest_reader import MANIFEST, manifest_of
from lrpc.program.memory_of import open_model
from lrpc.program.verify import checks
from lrpc.rules.plugins import load_allowed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    program: Any = lrpc.compile(model, (torch.randn(2, 4),), composite=["epsilon", "attnlrp"])
    found: Path = program.save(tmp_path_factory.mktemp("made") / "program")
    return found


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def edited(folder: Path, change: Callable[[Any], object]) -> Path:
    data = json.loads((folder / "manifest.json").read_text())
    change(data)
    (folder / "manifest.json").write_text(json.dumps(data))
    return folder


def refusal(call: Callable[[], Any], *words: str) -> str:
    with pytest.raises(LrpcError) as caught:
        call()
    text = str(caught.value)
    assert text.isprintable(), text
    for word in words:
        assert word in text, text
    return text


def _paths(data: Any, wanted: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places in `data` that the schema speaks of, those that must be there first of all."""
    yield path
    if isinstance(wanted, list):
        parts = [(0, wanted[0])] if data else []
    elif isinstance(wanted, dict):
        names = [(key.removesuffix("?"), part) for key, part in wanted.items()]
        parts = [(name, part) for name, part in names if name in data]
    elif hasattr(wanted, "of"):
        parts = [(key, wanted.of) for key in list(data)[:1]]
    else:
        parts = []
    for key, part in parts:
        yield from _paths(data[key], part, (*path, key))


def _put(data: Any, path: tuple[Any, ...], value: object) -> None:
    for key in path[:-1]:
        data = data[key]
    if value is MISSING:
        del data[path[-1]]
    else:
        data[path[-1]] = value


def _said(folder: Path) -> str:
    """Why the manifest is refused, if it is."""
    try:
        manifest_of(folder)
    except ProgramError as error:
        return str(error)
    return ""


MISSING = object()
ODD = (
    MISSING,
    None,
    True,
    -1,
    1.5,
    "x\n",
    [],
    {},
    [[]],
    [None],
    {"a": None},
    10**30,
    10**400,
    float("nan"),
)


def test_every_value_of_a_manifest_is_checked(made: Path, tmp_path: Path) -> None:
    """Whatever stands in the place of a value, compiling works or is refused in one line."""
    text = (made / "manifest.json").read_text()
    places = list(_paths(json.loads(text), MANIFEST))[1:]
    assert len(places) > 60
    for name in ("graph.lrp", "weights.safetensors"):
        shutil.copy(made / name, tmp_path / name)
    refused = 0
    for path in places:
        for value in ODD:
            data = json.loads(text)
            try:
                _put(data, path, value)
            except (TypeError, IndexError):
                continue
            (tmp_path / "manifest.json").write_text(json.dumps(data))
            said = _said(tmp_path)
            assert said.isprintable()
            assert not said or "manifest.json: " in said
            refused += bool(said)
    assert refused > 5 * len(places)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("settings"), "manifest.json: settings is missing; compile the program"),
        (lambda m: m["settings"].update(tf32="no"), "settings: tf32: expected true or false, got"),
        (lambda m: m["settings"].update(chunk=0), "settings: chunk: expected an integer from 1 to"),
        (lambda m: m["settings"].update(chunk=True), "settings: chunk: expected an integer from 1"),
        (lambda m: m["settings"].update(bound=0), "settings: bound: expected a number above 0"),
        (lambda m: m["settings"].update(budget="1%x"), "settings: budget: expected a number of"),
        (lambda m: m["settings"].update(structure={"a": "b"}), "expected a nesting of outputs"),
        (lambda m: m["settings"].update(structure="b"), "expected the graph's outputs, each once"),
        (lambda m: m["settings"]["places"]["inputs"].update(a=3), "inputs: 'a': expected a text"),
        (lambda m: m["targets"][0].update(axes=[9]), "axes and token count from 0 to 0"),
        (lambda m: m["targets"][0].update(mark="m"), "starts at 'm', no place of the graph"),
        (lambda m: m["targets"][0].update(name='a"'), "expected a name without quotes"),
        (lambda m: m["targets"].append(m["targets"][0]), "'output' is there twice"),
        (lambda m: m["targets"].clear(), "targets: expected one at least"),
        (lambda m: m.update(epsilon="x"), "epsilon: expected a finite number, got 'x'"),
        (lambda m: m["composites"]["attnlrp"].update(graph="../x"), "the name of a file in this"),
        (lambda m: m["sha256"].update({"../x": "0" * 64}), "the name of a file in this directory"),
    ],
)  # fmt: skip
def test_an_edited_manifest_is_refused_in_one_line(copy: Path, change: Any, words: str) -> None:
    edited(copy, change)
    refusal(lambda: compile_graph(copy / "graph.lrp", copy / "out"), words)
    refusal(lambda: open_model(copy), words)


@pytest.mark.parametrize(
    ("call", "change", "words"),
    [
        (
            lambda folder: list(checks(folder)),
            lambda m: m["saved"].update({next(iter(m["saved"])): ["a\nb", "c"]}),
            (r"manifest.json: saved: the program does not keep ", r" as c in a\nb; compile the"),
        ),
        (
            open_model,
            lambda m: m["memory"].update(recomputed=["a\nb"]),
            (r"manifest.json: memory: again: a\nb is no block of the program; compile the",),
        ),
    ],
    ids=["saved", "recomputed"],
)
def test_what_the_program_does_otherwise_is_refused_in_one_line(
    copy: Path, call: Any, change: Any, words: tuple[str, ...]
) -> None:
    edited(copy, change)
    refusal(lambda: call(copy), *words)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '"a"', "[" * 100_000, "\ud800", '{"a": 1' + "0" * 9999]
)
def test_what_is_no_manifest_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_bytes(text.encode(errors="surrogatepass"))
    for call in (
        lambda: compile_graph(copy / "graph.lrp", copy / "out"),
        lambda: open_model(copy),
        lambda: load_program(copy, "cpu"),
    ):
        with pytest.raises(Exception, match=r"manifest\.json") as caught:
            call()
        assert type(caught.value).__name__ == "ProgramError"
        assert "\n" not in str(caught.value)


def test_programs_check_their_manifest_themselves(copy: Path) -> None:
    """Alone, without lrpc: program.py carries the check."""
    edited(copy, lambda m: m["memory"].update(chunk="8"))
    script = "import program\ntry: program.load()\nexcept program.ProgramError as e: print(e)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=copy, capture_output=True, text=True)
    assert "manifest.json: memory: chunk: expected an integer from 1, got '8'" in ran.stdout


# -- code ------------------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that says on import that it was run."""
    (tmp_path / "plugin_of_others.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
        "def build(config): raise AssertionError('built')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "plugin_of_others"
    sys.modules.pop("plugin_of_others", None)


def test_plugins_of_a_manifest_run_where_they_are_allowed(
    copy: Path, tmp_path: Path, plugin: str
) -> None:
    edited(copy, lambda m: m.update(config={"LRPC": {"PLUGINS": [plugin]}}))
    said = (
        f"asks for plugins, which are code: {plugin}; allow what you trust with --plugin {plugin}"
    )
    for call in (
        lambda: compile_graph(copy / "graph.lrp", tmp_path / "out"),
        lambda: open_model(copy),
        lambda: list(checks(copy)),
    ):
        refusal(call, said)
        assert not (tmp_path / "ran").exists()
    compile_graph(copy / "graph.lrp", tmp_path / "out", plugins=[plugin])
    assert (tmp_path / "ran").exists()
    open_model(copy)  # this process has it now: there is nothing left to run


@pytest.mark.parametrize("name", ["a b", "os; x", "../x", "", 3])
def test_a_plugin_is_the_name_of_a_module(copy: Path, name: object) -> None:
    edited(copy, lambda m: m.update(config={"LRPC": {"PLUGINS": [name]}}))
    refusal(lambda: open_model(copy), "PLUGINS[0]: expected the name of a module")


def test_what_is_allowed_must_be_named_in_full(plugin: str) -> None:
    manifest = {"config": {"LRPC": {"PLUGINS": [plugin]}}}
    refusal(lambda: load_allowed(manifest, []), "--plugin plugin_of_others")
    refusal(lambda: load_allowed(manifest, ["json"]), "plugins=['plugin_of_others']")


def test_a_function_that_a_manifest_names_is_not_called(tmp_path: Path, plugin: str) -> None:
    lrpc_node = {"SCOPE": "", "SOURCE": f"{plugin}:build", "PLUGINS": []}
    manifest = {
        "config": {"LRPC": lrpc_node, "MODEL": {"WEIGHTS": ""}},
        "weights": {"random": True, "sha256": None},
    }
    found = original(manifest, {}, "cpu", None)
    assert found == f"a function builds it, which is code: allow it with --source {plugin}:build"
    assert not (tmp_path / "ran").exists()
