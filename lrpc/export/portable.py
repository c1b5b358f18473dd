"""A program directory becomes a file for another runtime, held against the program."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lrpc
from lrpc.errors import ConfigError, ProgramError
from lrpc.export.check import Check, Difference, Run
from lrpc.export.graph import Asked, Exported, exported
from lrpc.export.ledger import LEDGER, as_text
from lrpc.program.loading import composites_of, load_program, under_composite
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.targets import matching
from lrpc.program.tolerance import tolerance
from lrpc.rules.plugins import load_allowed
from lrpc.support.files import complete

FORMATS = {"onnx": ".onnx", "pt2": ".pt2"}


class Export:
    """What `lrpc export` makes of a program, in the order in which it is made."""

    def __init__(self, directory: Path, kind: str, plugins: Sequence[str] = ()) -> None:
        self.directory, self.kind = directory, kind
        _check_installed(kind)
        self.program: Any = load_program(directory, "cpu")
        self.manifest = manifest_of(directory)
        load_allowed(self.manifest, plugins)

    def made(
        self,
        target: str | None,
        composite: str | None,
        read: Sequence[str],
        seeds: bool,
        ledger: bool = False,
    ) -> Exported:
        """The graph of a target under a composite, by default the first of each, that reads the
        places which a pattern in `read` matches, by default those at inputs."""
        name = composites_of(self.manifest)[0] if composite is None else composite
        own = under_composite(self.manifest, name)
        known = [one["name"] for one in own["targets"]]
        if target is not None and target not in known:
            raise ConfigError(f"--target {target}: the program starts from {', '.join(known)}")
        chosen = own["targets"][0 if target is None else known.index(target)]
        places = _places(chosen["reads"], self.program.interface.read_inputs, read)
        asked = Asked(chosen, places, seeds, ledger)
        return exported(self.directory, self.manifest, asked, name)

    def write(self, made: Exported, path: Path) -> Iterator[Difference]:
        """Write the file, whole or not at all, and yield how far it is from the program at each of
        the sizes that it is held at. Raises LrpcError where it cannot be made, or differs."""
        check = self.check(made)
        with complete(path) as part, tempfile.TemporaryDirectory(prefix="lrpc-export-") as folder:
            part.touch()  # what the system refuses it refuses before the work
            draft = Path(folder) / f"program{FORMATS[self.kind]}"
            run = self._written(made, check, draft)
            for sizes in check.cases():
                yield check.hold(run, sizes)
            shutil.copyfile(draft, part)

    def check(self, made: Exported) -> Check:
        """What holds a file of this graph against the program."""
        structure = self.manifest["settings"]["structure"]
        allowed = tolerance(self.manifest, made.module.graph.dtype, "cpu")
        images = "PIXEL_MEAN" in self.manifest.get("config", {}).get("MODEL", {})
        return Check(self.program, made, structure, allowed, images)

    def _written(self, made: Exported, check: Check, draft: Path) -> Run:
        facts = self.facts(made)
        if self.kind == "onnx":
            file = import_module("lrpc.export.onnx.file")
            file.write_model(made, draft, facts)
            opened: Callable[[Path], Run] = file.opened
            return opened(draft)
        pt2 = import_module("lrpc.export.pt2")
        two = {**check.cases()[0], "B": 2, "K": 2}  # torch.export takes one of each as fixed
        traced = pt2.traced_program(made, check.example(two))
        pt2.write_package(traced, draft, facts)
        opened = pt2.opened
        return opened(draft)

    def facts(self, made: Exported) -> dict[str, str]:
        """What the file says of itself."""
        graph, target = made.module.graph, made.asked.target
        booked = {LEDGER: as_text(made.rows)} if made.rows else {}
        return {
            "lrpc": lrpc.__version__,
            "program": str(self.manifest["settings"]["name"]),
            "weights_sha256": str(self.manifest["sha256"]["weights.safetensors"]),
            "composite": made.composite,
            "target": str(target["name"]),
            "index_names": ",".join(target["index_names"]),
            "inputs": ",".join(f"{v.name}: {v.type}" for v in graph.inputs),
            "outputs": ",".join(f"{name}: {v.type}" for name, v in graph.outputs),
            **booked,
        }


def _places(
    every: Sequence[str], inputs: Mapping[str, str], read: Sequence[str]
) -> tuple[str, ...]:
    """The places to read, in the order of the program."""
    if not read:
        found = [place for place in every if place in inputs]
        return tuple(found or every)
    return tuple(matching("--read", read, every))


def _check_installed(kind: str) -> None:
    if kind == "onnx":
        missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
        if missing:
            raise ProgramError(
                f"--to onnx needs {' and '.join(missing)}; install with: pip install 'lrpc[onnx]'"
            )
    else:
        import_module("lrpc.export.pt2").check_compiler()
