"""A study of the gamma rule on a vision transformer: how relevance changes with γ.

ViTs want a γ of their own for the patch embedding, a convolution, and for the linear layers
(attention by CP-LRP). This runs torchvision's ViT-B/16 over a folder of images and explains the
predicted class under several settings, all from one forward pass per image:

    python examples/vit_study.py --images photos --weights vit_b_16.pth -o study
    python examples/vit_study.py --images imagenet/val --samples 20 --seed 1 \\
        --gammas 1,0.5 0.25,0.05 0.1,0 100,1 -o study

Each pair is γ of the convolution, γ of the linear layers. `--images` is a folder of images, or of
folders with images, one for each class. `--weights` is a state dict (.pth, read with weights_only,
or .safetensors); without it the weights are random and the study says so.

For each image it writes, and for each setting where SETTING stands:

    NAME.SETTING.heatmap.png, NAME.SETTING.overlay.png    relevance in colour; over the image
    NAME.comparison.png                                   all settings side by side
    NAME.relevance.safetensors                            SETTING → relevance [3, H, W]
    study.json                                            settings, classes, sums, hashes, versions
"""

from __future__ import annotations

import argparse
import hashlib
import math
import platform
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

import lrpc
from lrpc.commands.compare.comparison import Comparison, comparison
from lrpc.commands.drawing import render
from lrpc.commands.session.images import SUFFIXES, read_rgb
from lrpc.commands.session.names import output_stems
from lrpc.commands.session.record import write_json
from lrpc.errors import LrpcError
from lrpc.models.weights import read_weights
from lrpc.results import colour
from lrpc.support.files import complete

GAMMAS = ((1.0, 0.5), (0.25, 0.05), (0.1, 0.0), (100.0, 1.0))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's weights
RANDOM = "RANDOM WEIGHTS: seeded, not trained; this relevance explains no real model"


@dataclass(frozen=True)
class Study:
    """What to explain, under which settings, and where the results go."""

    images: Path
    output: Path
    gammas: tuple[tuple[float, float], ...] = GAMMAS
    samples: int = 0  # 0: all of them
    seed: int = 0
    size: int = 224
    epsilon: float = 1e-6
    device: str = "cpu"

    def composites(self) -> dict[str, dict[str, object]]:
        """Each setting as a composite, by a name that says its γs."""
        return {
            f"conv{conv:g}_linear{linear:g}": {
                "composite": "gamma",
                "conv_gamma": conv,
                "linear_gamma": linear,
                "epsilon": self.epsilon,
            }
            for conv, linear in self.gammas
        }

    def paths(self) -> list[Path]:
        """The chosen images, sorted: the same for the same files, number and seed."""
        every = sorted(p for p in self.images.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not every:
            raise LrpcError(f"{self.images}: no image in this folder or in those inside it")
        if not 0 < self.samples < len(every):
            return every
        return sorted(random.Random(self.seed).sample(every, self.samples))


def run(model: nn.Module, study: Study, weights: Mapping[str, object]) -> int:
    """Explain every image and write all files; 1 where one of them failed, else 0."""
    paths = study.paths()
    study.output.mkdir(parents=True, exist_ok=True)
    example = torch.randn(1, 3, study.size, study.size)
    program: Any = lrpc.compile(
        model.eval(), (example,), composite=study.composites(), device=study.device
    )
    told = []
    for path, stem in zip(paths, output_stems(paths), strict=True):
        record: dict[str, Any] = {"file": str(path.relative_to(study.images))}
        try:
            record |= explain(program, path, study, stem, bool(weights["random"]))
        except LrpcError as error:
            record["error"] = str(error)
        told.append(record)
        print(f"{record['file']}: {record.get('error') or summary(record)}")
    write_json(study.output / "study.json", {**about(study, weights), "images": told})
    return 1 if any("error" in one for one in told) else 0


def explain(program: Any, path: Path, study: Study, stem: str, untrained: bool) -> dict[str, Any]:
    """One image under every setting, from one forward pass; its pictures, tensors and record."""
    photo = cropped(read_rgb(path), study.size)
    state = program.forward(normalised(photo).to(study.device))
    logits = state.outputs[0]
    label = int(logits.argmax())
    found = {
        name: program.relevance(state, "output", at=[(label,)], composite=name, ledger=True)
        for name in program.composites
    }
    compared = comparison("output", found)
    title = f"{path.name}: class {label}, logit {float(logits[label]):.2f}"
    page = compared.plot(photo, title=title, warning=RANDOM if untrained else "")
    files = {f"{stem}.comparison.png": page, **pictures(compared, photo, stem)}
    for name, picture in files.items():
        with complete(study.output / name) as part:
            picture.save(part, format="PNG")
    tensors = {name: one.input[0, 0].cpu().contiguous() for name, one in found.items()}
    raw = f"{stem}.relevance.safetensors"
    with complete(study.output / raw) as part:
        part.write_bytes(save(tensors))
    return {
        "sha256": digest(path),
        "folder": path.parent.name if path.parent != study.images else None,
        "predicted": label,
        "logit": float(logits[label]),
        "top5": [[int(i), float(logits[i])] for i in logits.argsort(descending=True)[:5]],
        "settings": {name: figures(compared, found[name], name) for name in found},
        "files": {name: digest(study.output / name) for name in [*files, raw]},
    }


def pictures(compared: Comparison, photo: colour.Pixels, stem: str) -> dict[str, Image.Image]:
    """Heat map and overlay of each setting, by file name."""
    made = {}
    for name, maps in compared.heatmaps.items():
        values = maps[0, 0].double().cpu().numpy()
        scale = colour.robust_scale(values)
        made[f"{stem}.{name}.heatmap.png"] = render.heatmap(values, scale)
        made[f"{stem}.{name}.overlay.png"] = render.overlay(photo, values, scale, render.Marks())
    return made


def figures(compared: Comparison, found: Any, name: str) -> dict[str, float | None]:
    """What the record says of one setting; None for the likeness of maps that are all zeros."""
    i = compared.names.index(name)
    alike = (compared.spearman[0, i, 0, 0].item(), compared.cosine[0, i, 0, 0].item())
    rank, angle = (None if math.isnan(value) else value for value in alike)
    return {
        "sum": float(compared.sums[name]),
        "spearman_with_first": rank,
        "cosine_with_first": angle,
        "ledger_closure": float(found.ledger.closure),
        **{f"sink_{kind}": float(amount) for kind, amount in found.ledger.sinks.items()},
    }


def summary(record: Mapping[str, Any]) -> str:
    """One image in one line."""
    sums = ", ".join(f"{name} {part['sum']:.3g}" for name, part in record["settings"].items())
    return f"class {record['predicted']}, logit {record['logit']:.3g}; sums: {sums}"


def about(study: Study, weights: Mapping[str, object]) -> dict[str, Any]:
    """What the run's record says of the run itself."""
    import torchvision

    return {
        "settings": study.composites(),
        "samples": study.samples,
        "seed": study.seed,
        "size": study.size,
        "weights": dict(weights),
        "versions": {
            "lrpc": lrpc.__version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "python": platform.python_version(),
        },
    }


def cropped(image: Image.Image, size: int) -> colour.Pixels:
    """The shorter side to 8/7 of `size`, then the centre [size, size, 3]: ImageNet's test crop."""
    short = round(size * 256 / 224)
    scale = short / min(image.size)
    image = image.resize(
        (max(short, round(image.width * scale)), max(short, round(image.height * scale))),
        Image.Resampling.BILINEAR,
    )
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def normalised(photo: colour.Pixels) -> Tensor:
    """The model's input [1, 3, H, W]."""
    pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def load(model: nn.Module, path: Path | None, seed: int = 0) -> dict[str, object]:
    """Weights from a file into `model`, or random ones; what the record says of them."""
    if path is None:
        print(f"note: {RANDOM}", file=sys.stderr)
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():  # a fresh head is all zeros: nothing to explain
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
        return {"file": None, "random": True, "note": RANDOM}
    model.load_state_dict(read_weights(path).tensors)  # runs nothing of the file
    return {"file": path.name, "random": False, "sha256": digest(path)}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pair(text: str) -> tuple[float, float]:
    """`CONV,LINEAR` as two numbers from 0 up, for argparse."""
    parts = list(numbers(text))
    if len(parts) != 2 or min(parts) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not CONV,LINEAR, two numbers from 0 up")
    return parts[0], parts[1]


def numbers(text: str) -> Iterator[float]:
    for word in text.split(","):
        try:
            yield float(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{word!r} is not a number") from None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="state dict of vit_b_16")
    parser.add_argument("--gammas", type=pair, nargs="+", default=GAMMAS, metavar="CONV,LINEAR")
    parser.add_argument("--samples", type=int, default=0, metavar="N", help="images (all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of samples")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    from torchvision.models import vit_b_16

    study = Study(
        args.images, args.output, tuple(args.gammas), args.samples, args.seed, device=args.device
    )
    try:
        study.paths()  # before the model is made
        model = vit_b_16(weights=None)
        return run(model, study, load(model, args.weights))
    except LrpcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
