"""At which size a program sees an image: the model's own rule, and the sizes that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from lrpc.program.protocol import Size


@dataclass(frozen=True)
class Sizing:
    """How images meet the program: detectron2's test sizes, and the sizes that it takes.

    `shortest` is `INPUT.MIN_SIZE_TEST` (0: never resize except to fit), `longest` is
    `INPUT.MAX_SIZE_TEST`, `mean` is the pixel mean (RGB). The model's own inference pads to
    multiples of `divisor`. A program takes images (H, W) of one of `shapes`, which are not empty,
    or where `steps` are given, all whose height and width are multiples of them. `masks` says
    whether the model's own inference masks what it pads; a released MaskDINO's does not. `pad`
    allows that images are padded to one of `shapes` which that inference does not pad so. `rule`
    is `LRPC.RESIZE`, `exact` the first of `LRPC.SHAPES`, `before` what the image is resized to
    before its centre is cut out, `filter` Pillow's; `masked` says whether the program takes a mask
    of padding.
    """

    shapes: tuple[Size, ...]
    shortest: int
    longest: int
    mean: tuple[float, float, float]
    divisor: int = 1
    steps: Size | None = None
    masks: bool = True
    pad: bool = False
    rule: str = "shortest"
    exact: Size = (0, 0)
    before: tuple[int, ...] = ()
    masked: bool = False
    filter: str = "bilinear"

    def own(self, original: Size) -> tuple[Size, Size]:
        """The size that the model's own inference resizes an image to, and what it pads that to."""
        if self.rule in ("exact", "crop"):
            return self.exact, self.exact
        if self.rule == "pad":
            return aspect(original, self.shortest, self.longest), self.exact
        if self.rule == "aspect":
            kept = aspect(original, self.shortest, self.longest)
            resized = up_to(kept, (self.divisor, self.divisor))
            return resized, resized
        wanted = shortest_edge(original, self.shortest, self.longest)
        return wanted, up_to(wanted, (self.divisor, self.divisor))

    def cut(self, original: Size) -> tuple[Size, Size] | None:
        """The size that an image is resized to, and from where on (y, x) its centre is cut out of
        that; None where all of it is seen."""
        if self.rule != "crop":
            return None
        resized = (self.before[0], self.before[-1])
        if len(self.before) == 1:  # as torchvision resizes: the longer edge is rounded down
            least, edge = min(original), self.before[0]
            height, width = (edge if s == least else int(edge * s / least) for s in original)
            resized = (height, width)
        top, left = (int((a - b) / 2) for a, b in zip(resized, self.exact, strict=True))
        return resized, (top, left)

    @property
    def fill(self) -> tuple[float, float, float]:
        """The colour of padding."""
        return (0.0, 0.0, 0.0) if self.rule == "pad" else self.mean

    def unmasked(self, frame: Size, valid: Size, original: Size) -> Size:
        """What a mask of padding leaves of the network's input: the image, and what the model's own
        inference pads without masking it."""
        wanted, own = self.own(original)
        if self.masks or valid != wanted:
            return valid
        return min(own[0], frame[0]), min(own[1], frame[1])

    def refusal(self, frame: Size, valid: Size, original: Size) -> str:
        """Why an image must not become `valid` in `frame`, and what to do; "" where it may."""
        wanted, own = self.own(original)
        if self.pad or valid == frame or (valid, frame) == (wanted, own):
            return ""
        if self.in_a_batch(valid, original) or (self.steps and self.rule == "shortest"):
            return ""
        if self.steps:
            return (
                f"the model sees this image at {words(wanted)}, the program takes multiples of"
                f" {words(self.steps)}; have it padded (--pad), or compile for this size alone"
                f" (LRPC.DYNAMIC false LRPC.SHAPES '[[{wanted[0]},{wanted[1]}]]')"
            )
        return (
            f"the program takes {words(frame)}, the model's own inference makes this image"
            f" {words(own)}; compile for any size (LRPC.DYNAMIC true) or for this one"
            f" (LRPC.SHAPES '[[{own[0]},{own[1]}]]'), or have it padded (--pad)"
        )

    def in_a_batch(self, valid: Size, original: Size) -> bool:
        """Whether padding is masked, as transformers masks that of the images of a batch."""
        return self.rule == "aspect" and self.masked and valid == self.own(original)[0]

    @property
    def takes(self) -> tuple[object, ...]:
        """What programs that take the same images have in common."""
        rule = (self.rule, self.exact, self.before, self.filter)
        own = (self.steps, self.shortest, self.longest) if self.steps else self.shapes
        return *rule, *own


def words(size: Size) -> str:
    """`480×640`, height first."""
    return f"{size[0]}×{size[1]}"


def shortest_edge(size: Size, shortest: int, longest: int) -> Size:
    """detectron2's test size: the shorter edge becomes `shortest`, unless the longer would pass
    `longest`; `shortest` 0 leaves the size alone."""
    if shortest <= 0:
        return size
    # In the order of detectron2's products: another order may round a half to the other side.
    scale, least = shortest / min(size), min(size)
    edges = [float(shortest) if edge == least else scale * edge for edge in size]
    if longest > 0 and max(edges) > longest:
        shrink = longest / max(edges)
        edges = [edge * shrink for edge in edges]
    height, width = (max(1, int(edge + 0.5)) for edge in edges)
    return height, width


def aspect(size: Size, shortest: int, longest: int) -> Size:
    """The size that image processors of transformers give an image: the shorter edge becomes
    `shortest`, or less where the longer would pass `longest`, which is rounded down."""
    least, most = min(size), max(size)
    edge = float(shortest)
    if most / least * shortest > longest:
        edge = longest * least / most
    short = round(edge)
    if least == short:
        return size
    height, width = (short if length == least else int(edge * length / least) for length in size)
    return (short, short) if size[0] == size[1] else (height, width)


def up_to(size: Size, steps: Size) -> Size:
    """The next multiples of `steps`."""
    height, width = (-(-edge // step) * step for edge, step in zip(size, steps, strict=True))
    return height, width


def fit(original: Size, sizing: Sizing) -> tuple[Size, Size]:
    """The size of the network's input that suits an image best, and the size the image has in it.

    A program of any size takes the model's own, padded further only where its steps are larger.
    Of the shapes of others, one that the image has exactly keeps its pixels. Otherwise it takes its
    detectron2 size, shrunk where that does not fit; the shape that shows it largest wins, then the
    smallest shape.
    """
    wanted, own = sizing.own(original)
    if sizing.steps:
        return up_to(own, sizing.steps), wanted
    if original in sizing.shapes:
        return original, original
    choices = [(shape, _within(original, wanted, shape)) for shape in sizing.shapes]
    return max(choices, key=lambda c: (c[1][0] * c[1][1], -c[0][0] * c[0][1]))


def _within(original: Size, wanted: Size, frame: Size) -> Size:
    """`wanted` where it fits in `frame`, otherwise the largest size of the original's aspect ratio
    that does."""
    if wanted[0] <= frame[0] and wanted[1] <= frame[1]:
        return wanted
    scale = min(frame[0] / original[0], frame[1] / original[1])
    height, width = (max(1, int(edge * scale + 0.5)) for edge in original)
    return min(height, frame[0]), min(width, frame[1])
