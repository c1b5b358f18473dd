"""What the maps of a text detector and of a recogniser show, and where their logits end.

    PYTHONPATH=examples python examples/rapidocr_study.py -o build/ocr

explains rapidocr's models (see rapidocr_models.py). The detector sees a drawn word and two
photographs of scikit-image; relevance starts from the mean logit of all that it takes for text. The
recogniser sees drawn lines; relevance starts from each character that it reads, against the mean of
all others. For each composite the study prints the shares of the start that arrive at the image and
in the ledger's largest sinks, and before them how much of the positive relevance lies where the
text is: in the region itself, or within two places (16 pixels) of the one that was read. Maps are
written as PNG.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rapidocr_models as ocr
import torch
from PIL import Image, ImageDraw, ImageFont

import lrpc
from lrpc.compiler import compile_config
from lrpc.config import load_config

HERE = Path(__file__).parent
SPREAD = {"role": "convolution", "rule": "epsilon", "bias": "spread"}
COMPOSITES: dict[str, Any] = {
    "gradient_input": "gradient_input",
    "epsilon": "epsilon",
    "epsilon-bias_spread": {"composite": "epsilon", "rules": [SPREAD]},
    "gamma_0.01": {"composite": "gamma", "conv_gamma": 0.01, "linear_gamma": 0.01},
    "gamma_0.25": {"composite": "gamma", "conv_gamma": 0.25, "linear_gamma": 0.05},
    "epsilon_plus": "epsilon_plus",
    "attnlrp": "attnlrp",
}
LINES = ("Relevance 2015", "why a 5?", "invoice")
PHOTOGRAPHS = {"page.png": (384, 192), "text.png": (896, 352)}  # name: size, as multiples of 32


def line(text: str, size: tuple[int, int] = (320, 48), at: int = 4) -> Image.Image:
    """Dark text on light paper, as large as fits the height."""
    image = Image.new("RGB", size, (235, 230, 220))
    font = ImageFont.load_default(size=int(size[1] * 0.7))
    ImageDraw.Draw(image).text((at, size[1] // 2), text, (40, 40, 60), font, anchor="lm")
    return image


def photographs() -> dict[str, Image.Image]:
    """A drawn word, scikit-image's page of print, and its hand-written formula, enlarged."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    images = {"drawn": drawn()}
    for name, size in PHOTOGRAPHS.items():
        with Image.open(folder / name) as opened:
            images[Path(name).stem] = opened.convert("RGB").resize(size)
    return images


def drawn() -> Image.Image:
    """One word on a background that is brighter to the right: 320 × 160."""
    ramp = np.linspace(90, 220, 320, dtype=np.uint8)
    image = Image.fromarray(np.broadcast_to(ramp[None, :, None], (160, 320, 3)).copy())
    font = ImageFont.load_default(size=40)
    ImageDraw.Draw(image).text((60, 60), "lrpc 42", (20, 20, 30), font)
    return image


def pixels(image: Image.Image) -> Any:
    """[1, 3, H, W] from 0 to 255."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()


def program(name: str, composites: Mapping[str, Any]) -> Any:
    """The program of `rapidocr_NAME.yaml` with all composites."""
    given = ["LRPC.COMPOSITE", str(dict(composites))]
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(HERE / f"rapidocr_{name}.yaml", given)
        compile_config(config, Path(folder, "program"))
        return lrpc.load(Path(folder, "program"))


def region(made: Any, image: Any, composite: str) -> tuple[Any, Any]:
    """The relevance of all that the detector takes for text, and where that is."""
    state = made.forward(image)
    inside = state.outputs["pixel_logits"].argmax(1)[0] == 1
    found = made.relevance(state, "class_region", at=[(1,)], composite=composite, ledger=True)
    return found, inside


def letters(made: Any, image: Any, composite: str) -> tuple[Any, list[tuple[int, int, str]]]:
    """The relevance of every character that is read, against the mean of all others."""
    state = made.forward(image)
    logits = state.outputs["letters"][0]
    found = ocr.read(logits, ocr.characters())
    starts = [lrpc.contrast(logits, (place, label), "mean")[None] for place, label, _ in found]
    seeds = torch.stack(starts)
    made_of = made.relevance(state, "letters", seeds=seeds, composite=composite, ledger=True)
    return made_of, found


def shares(ledger: Any) -> dict[str, float]:
    """Where the start ends, as shares of it, of all seeds together."""
    start = float(ledger.start.sum())
    ends = {"image": float(ledger.end.sum()) / start}
    return ends | {name: float(amount.sum()) / start for name, amount in ledger.sinks.items()}


def positive(relevance: Any, inside: Any) -> float:
    """The share of Σ max(R, 0) at the pixels that are `inside`; R is [3, H, W]."""
    map_ = relevance.sum(0).clamp(min=0)
    return float((map_ * inside).sum() / map_.sum())


def picture(image: Any, maps: Any) -> Image.Image:
    """The image, and below it each map: red is positive, blue negative, white nothing."""
    rows = [image[0].permute(1, 2, 0).numpy()]
    for one in maps.sum(1):
        scaled = (one / one.abs().quantile(0.995).clamp(min=1e-30)).clamp(-1, 1)[..., None].numpy()
        red, blue = np.array([215, 40, 30.0]), np.array([40, 80, 200.0])
        rows.append(255 + scaled.clip(0) * (red - 255) - scaled.clip(None, 0) * (blue - 255))
    return Image.fromarray(np.concatenate(rows).clip(0, 255).astype(np.uint8))


def row(name: str, ends: Mapping[str, float], inside: float) -> str:
    sinks = sorted((k for k in ends if k != "image"), key=lambda k: -abs(ends[k]))[:3]
    told = "  ".join(f"{k} {ends[k]:+.3f}" for k in sinks)
    return f"{name:22}{ends['image']:+9.3f}{inside:9.2f}   {told}"


def main() -> None:
    arguments = argparse.ArgumentParser(description="Explain a text detector and a recogniser.")
    arguments.add_argument("-o", "--output", type=Path, metavar="FOLDER")
    given = arguments.parse_args()
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
    made = program("detector", COMPOSITES)
    for name, image in photographs().items():
        print(f"\ndetector, {name}")
        for composite in made.composites:
            found, inside = region(made, pixels(image), composite)
            map_ = found.input[0, 0]
            print(row(composite, shares(found.ledger), positive(map_, inside)))
            if given.output:
                drawing = picture(pixels(image), found.input[:, 0])
                drawing.save(given.output / f"detector-{name}-{composite}.png")
    made = program("recogniser", COMPOSITES)
    for text in LINES:
        image = pixels(line(text))
        print(f"\nrecogniser, {text!r} read as", end=" ")
        for number, composite in enumerate(made.composites):
            found, characters = letters(made, image, composite)
            if number == 0:
                print(repr("".join(letter for _, _, letter in characters)))
            near = [
                positive(one[0], (torch.arange(320) / 8 - place - 0.5).abs() < 2)
                for one, (place, _, _) in zip(found.input, characters, strict=True)
            ]
            print(row(composite, shares(found.ledger), float(np.mean(near))))
            if given.output:
                drawing = picture(image, found.input[:, 0])
                drawing.save(given.output / f"recogniser-{text.split()[0]}-{composite}.png")


if __name__ == "__main__":
    main()
