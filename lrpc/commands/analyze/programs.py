"""The program of an analysis: compiled for its route, or an existing one that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpc.commands.analyze.request import LocalRequest, Route, check_features, check_layer, route
from lrpc.commands.analyze.switches import Switches
from lrpc.commands.session.facts import read_facts
from lrpc.commands.session.members import Member
from lrpc.config import Config, load_config, override_words
from lrpc.config.checks import SOURCES, TRANSFORMERS
from lrpc.errors import AnalysisError
from lrpc.ir.extents import at
from lrpc.ir.graph import Graph, Value
from lrpc.ir.parser import read_graph
from lrpc.ir.types import Sym
from lrpc.models.maskdino.spec import MaskDINOSpec
from lrpc.models.pretrained import Pretrained, read_described
from lrpc.models.sources import build_model
from lrpc.program.loading import load_program
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.protocol import Size


@dataclass(frozen=True)
class Axes:
    """Where a place's value has its batch, and what is counted: channels or queries."""

    batch: int
    index: int
    size: int


@dataclass(frozen=True)
class Local:
    """A loaded program in local mode: what is asked of it and how its values lie, and how many
    features one call carries (`chunk`).

    `tokens` is T of `sumT`: the tokens that an encoder feature is spread over, or all queries; it
    may depend on the image's height and width, which the graph calls `edges`.
    `batches` is the batch axis of each place beside the path.
    """

    member: Member
    manifest: Mapping[str, Any]
    route: Route
    features: tuple[int, ...]
    axes: Axes
    batches: Mapping[str, int]
    tokens: int
    edges: tuple[str, str]
    chunk: int

    @property
    def target(self) -> Mapping[str, Any]:
        """The manifest's entry of the target."""
        found: Mapping[str, Any] = _targets(self.manifest)[self.route.target]
        return found

    def tokens_at(self, frame: Size) -> int:
        """T of `sumT` in images (H, W)."""
        return at(self.tokens, dict(zip(self.edges, frame, strict=True)))


def configured(
    path: Path, overrides: Sequence[str], request: LocalRequest, switches: Switches
) -> Config:
    """The config for local mode: target, places, boundaries and rules set, all else as it was.

    A decoder's queries go in one pass unless LRPC.SEEDS is set; an encoder's channels, which
    carry all tokens each, in as many as LRPC.SEEDS says. Raises AnalysisError for a layer or a
    feature that the model does not have, before anything is compiled.
    """
    given = load_config(path, overrides)
    stacks = _stacks(given)
    check_layer(request.layer, stacks.get(request.module, 0), request.module)
    features: Sequence[int] = request.features or ()
    if given.LRPC.SOURCE in SOURCES:
        spec = MaskDINOSpec.from_config(given)
        size = spec.encoder_width if request.module == "encoder" else spec.queries
        features = check_features(request.features, size, request.module)
    elif request.sublayer is not None or request.measure == "pre_res":
        raise AnalysisError(
            f"LRPC.SOURCE {given.LRPC.SOURCE}: of its layers the whole is known, not the parts;"
            " leave out --sublayer and --measure pre_res"
        )
    if request.module == "decoder" and not stacks.get("encoder"):
        raise AnalysisError("the encoder has no layer: what leaves the queries has no place to end")
    found = route(request, stacks.get("encoder", 0))
    places = [found.read, *found.leaving]
    settings: dict[str, object] = {
        "SCOPE": "",
        "TARGETS": [found.target],
        "READ": places,
        "BOUNDARIES": places,
        "COMPOSITE": switches.chosen_composite(),
        "RULES": [*_entered(places), *switches.entries(), *map(_plain, given.LRPC.RULES)],
    }
    if switches.epsilon is not None:
        settings["EPSILON"] = switches.epsilon
    own = given.where("LRPC.SEEDS") != "defaults"
    if request.module == "decoder" and features and not own:
        settings["SEEDS"] = len(features)
    return load_config(path, [*overrides, *override_words(settings)])


def _stacks(given: Config) -> dict[str, int]:
    """How many layers the encoder and the decoder of the model have; AnalysisError where they are
    not known."""
    if given.LRPC.SOURCE in SOURCES:
        spec = MaskDINOSpec.from_config(given)
        return {"encoder": spec.encoder_layers, "decoder": spec.decoder_layers}
    if not given.LRPC.SOURCE.startswith(TRANSFORMERS):
        raise AnalysisError(
            f"LRPC.SOURCE {given.LRPC.SOURCE}: analyze knows the layers of a MaskDINO, or of a"
            " model of transformers"
        )
    model, _ = build_model(read_described(given))
    assert isinstance(model, Pretrained)
    return {kind: len(list(model.get_submodule(p).children())) for kind, p in model.layers.items()}


def _entered(places: Sequence[str]) -> list[dict[str, Any]]:
    """What enters the decoder is read behind the model's own detach, which would end it before."""
    return [{"op": "detach", "rule": "pass"}] if "decoder.input" in places else []


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in rule.items()}


def opened(directory: Path, request: LocalRequest, device: str, chunk: int = 0) -> Local:
    """The program in `directory` for `request`, with `chunk` features to a call (0: as compiled).

    Raises AnalysisError where it was not compiled for the request.
    """
    program = load_program(directory, device)
    manifest = manifest_of(directory)
    graph = read_graph(directory / "graph.lrp")
    found = route(request, _encoder_layers(graph))
    _check_compiled(directory, manifest, found)
    start, read = graph.value_at[found.start], graph.value_at[found.read]
    target = _targets(manifest)[found.target]
    axes, own = _axes(read, target), _axes(start, target)
    features = check_features(request.features, own.size, request.module)
    rest = [i for i in range(start.type.rank) if i != own.batch]
    token = own.index if target["token"] is None else rest[target["token"]]
    tokens = start.type.shape[token]
    assert isinstance(tokens, int)
    batches = {place: _batch(graph.value_at[place]) for place in found.leaving}
    member = Member("", program, read_facts(manifest), device, directory=directory)
    chunk = chunk or int(manifest["settings"]["chunk"])
    edges = _edges(graph.inputs[0])
    return Local(member, manifest, found, features, axes, batches, tokens, edges, chunk)


def _targets(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {target["name"]: target for target in manifest["targets"]}


def _encoder_layers(graph: Graph) -> int:
    """How many layers the encoder of a program's model has."""
    names = [n.removeprefix("encoder.layers.") for n in graph.value_at]
    found = [int(name) for name in names if name.isdecimal()]
    if not found:
        raise AnalysisError("this program has no layers of an encoder: its model has none by name")
    return max(found) + 1


def _check_compiled(directory: Path, manifest: Mapping[str, Any], found: Route) -> None:
    """The target is there, and relevance ends at all places of the route and is read there."""
    target = _targets(manifest).get(found.target)
    places = (found.read, *found.leaving)
    boundaries = manifest["settings"]["places"]["boundaries"]
    lacking = [place for place in places if place not in boundaries]
    if target is None or lacking:
        what = f"target {found.target}" if target is None else f"a stop at {lacking[0]}"
        listed = ", ".join(places)
        raise AnalysisError(
            f"{directory}: compiled without {what}; compile it with LRPC.TARGETS '[{found.target}]'"
            f" LRPC.BOUNDARIES '[{listed}]', or give --config and no --program"
        )
    if found.read not in target["reads"]:
        raise AnalysisError(
            f"with these rules no relevance of {found.start} reaches {found.read}; follow attention"
            " weights to the queries (--deform-rule value_and_weights)"
        )


def _edges(images: Value) -> tuple[str, str]:
    """What height and width of the images are called."""
    height, width = (str(edge) for edge in images.type.shape[2:])
    return height, width


def _batch(value: Value) -> int:
    return next(i for i, d in enumerate(value.type.shape) if isinstance(d, Sym))


def _axes(value: Value, target: Mapping[str, Any]) -> Axes:
    shape = value.type.shape
    batch = _batch(value)
    rest = [i for i in range(len(shape)) if i != batch]
    index = rest[target["axes"][0]]
    size = shape[index]
    assert isinstance(size, int)
    return Axes(batch, index, size)


def rules_on_the_way(local: Local) -> dict[str, str]:
    """The rule of every node that relevance passes on the route, by module path and node."""
    rows: Sequence[Sequence[str]] = local.manifest["ledger"][local.route.target]
    nodes = dict.fromkeys((row[0], row[1]) for row in rows if row[2] == "out")
    rules: Mapping[str, str] = local.manifest["rules"]
    return {f"{module or '-'} %{node}": rules[node] for node, module in nodes if node in rules}
