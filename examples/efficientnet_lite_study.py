"""Where the logits of a trained classifier end, and whether maps depend on the class.

    PYTHONPATH=examples python examples/efficientnet_lite_study.py --scenes build/photographs

explains scikit-image's photographs by EfficientNet-Lite0 (see efficientnet_lite.py) under several
composites. For each it prints, as means over the photographs: the share of the top class's logit
that arrives at the image, and the share in the sink `bias`; and |r|, the correlation of the top
class's map with those of nearby classes (ranks 2 to 6) and of others (ranks 101, 301, …, 901).
`--scenes` writes the photographs for `lrpc evaluate`, each as one object of the class predicted.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import lrpc
from lrpc.compiler import compile_config
from lrpc.config import load_config

CONFIG = Path(__file__).with_name("efficientnet_lite.yaml")
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "astronaut.png")
RANKS = (1, 2, 3, 4, 5, 100, 300, 500, 700, 900)  # of the classes to compare the first with
NEAR = 5


SPREAD = {"role": "convolution", "rule": "epsilon", "bias": "spread"}
NO_BIAS = {"role": "convolution", "rule": "z_plus", "bias": "excluded"}
FLAT = {"module": "*depthwise*", "op": "conv2d", "rule": "flat"}
COMPOSITES: dict[str, Any] = {
    "gradient_input": "gradient_input",
    "epsilon": "epsilon",
    "epsilon-bias_spread": {"composite": "epsilon", "rules": [SPREAD]},
    "gamma_0.01": {"composite": "gamma", "conv_gamma": 0.01},
    "gamma_0.1": {"composite": "gamma", "conv_gamma": 0.1},
    "gamma": "gamma",
    "epsilon_alpha2_beta1": "epsilon_alpha2_beta1",
    "epsilon_plus": "epsilon_plus",
    "epsilon_plus-bias": {"composite": "epsilon_plus", "rules": [NO_BIAS]},
    "epsilon_plus-bias+flat": {"composite": "epsilon_plus", "rules": [FLAT, NO_BIAS]},
}


def photographs() -> dict[str, Any]:
    """Pixels [3, 224, 224] of the centre of each photograph that ships with scikit-image."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return {Path(name).stem: cropped(folder / name) for name in PHOTOGRAPHS}


def cropped(path: Path) -> Any:
    """The shorter edge to 256 pixels, then the centre of 224."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = 256 / min(image.size)
    size = tuple(max(256, int(n * scale)) for n in image.size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = ((n - 224) // 2 for n in size)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)))
    return torch.tensor(pixels).permute(2, 0, 1).float()


def program(composites: Mapping[str, Any]) -> Any:
    """The classifier's program with all composites."""
    config = load_config(CONFIG, ["LRPC.COMPOSITE", str(dict(composites)), "LRPC.SEEDS", "11"])
    with tempfile.TemporaryDirectory() as folder:
        compile_config(config, Path(folder, "program"))
        return lrpc.load(Path(folder, "program"))


def figures(made: Any, pixels: Any, composite: str) -> dict[str, float]:
    """The shares and correlations of one photograph under one composite."""
    state = made.forward(pixels[None])
    order = state.outputs["logits"][0].argsort(descending=True).tolist()
    classes = [(order[0],), *((order[rank],) for rank in RANKS)]
    found = made.relevance(state, "class", at=classes, composite=composite, ledger=True)
    maps = found.input[:, 0].sum(1).flatten(1).double()
    likeness = torch.corrcoef(maps)[0, 1:].abs()
    start = float(found.ledger.start[0, 0])
    return {
        "image": float(found.ledger.end[0, 0]) / start,
        "bias": float(found.ledger.sinks["bias"][0, 0]) / start if found.ledger.sinks else 0.0,
        "near": float(likeness[:NEAR].mean()),
        "others": float(likeness[NEAR:].mean()),
        "closure": float(found.ledger.closure.max()),
    }


def study(made: Any) -> dict[str, dict[str, float]]:
    """Composite → its figures, as means over the photographs."""
    photos, table = photographs(), {}
    for name in made.composites:
        rows = [figures(made, pixels, name) for pixels in photos.values()]
        table[name] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return table


def write_scenes(made: Any, folder: Path) -> None:
    """The photographs, each with a mask of all of it, named by its class."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in photographs().items():
        image = Image.fromarray(pixels.byte().permute(1, 2, 0).numpy())
        label = int(made.forward(pixels[None]).outputs["logits"][0].argmax())
        image.save(folder / f"{name}.png")
        Image.new("L", image.size, 255).save(folder / f"{name}.{label}-1.mask.png")


def main() -> None:
    arguments = argparse.ArgumentParser(description="Where the logits of a classifier end.")
    arguments.add_argument("--scenes", type=Path, metavar="FOLDER")
    given = arguments.parse_args()
    made = program(COMPOSITES)
    if given.scenes:
        write_scenes(made, given.scenes)
    print(f"{'composite':24}{'image':>9}{'bias':>9}{'|r| near':>10}{'others':>8}")
    for name, row in study(made).items():
        print(
            f"{name:24}{row['image']:9.4f}{row['bias']:9.4f}{row['near']:10.2f}{row['others']:8.2f}"
        )


if __name__ == "__main__":
    main()
