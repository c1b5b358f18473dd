"""What relevance can start from in a detector or classifier: kinds of targets, parts of layers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Index:
    """One number of a target's index: the name that programs have for it, what stands for it in
    expressions (`class_logit:Q,C`) and, before the number, in file names. `values` names the
    values that it can take, where each has a name."""

    name: str
    field: str
    slug: str
    values: tuple[str, ...] = ()

    def spelt(self, value: int) -> str:
        """The number in a file name."""
        return self.values[value] if self.values else f"{self.slug}{value}"

    def said(self, value: int) -> str:
        """The number in words."""
        return self.values[value] if self.values else str(value)


@dataclass(frozen=True)
class TargetKind:
    """One kind of target.

    It starts from the model's `output`, or once per layer from the places `layers`N. Its `index`
    counts along `axes` of that value, the batch axis aside, or along the first ones; `words` says
    an index. A kind that is `of_detections` may be asked for without numbers: each detection has
    its own. `query_of` is the output whose rows its first number counts; `token` the axis that a
    feature is spread over. A kind that weighs another starts from many entries of that one at once.
    """

    name: str
    index: tuple[Index, ...]
    words: str
    output: str = ""
    layers: str = ""
    axes: tuple[int, ...] = ()
    token: int | None = None
    query_of: str = ""
    of_detections: bool = False
    weighs: str = ""

    @property
    def layered(self) -> bool:
        """Whether it exists once per layer."""
        return bool(self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """What `at` indexes, by name."""
        return tuple(one.name for one in self.index)

    @property
    def places(self) -> tuple[int, ...]:
        """The axes that its index counts along."""
        return self.axes or tuple(range(len(self.index)))

    @property
    def of_class(self) -> bool:
        """Whether its last number is a class, which others can be contrasted with."""
        return (
            bool(self.output or self.layers) and self.index[-1].name == "class" and not self.weighs
        )

    @property
    def form(self) -> str:
        """Its expression, such as `encoder_feature:LAYER:channel`."""
        layer = ["LAYER"] if self.layered else []
        return ":".join([self.name, *layer, ",".join(one.field for one in self.index)])

    def slug(self, index: tuple[int, ...]) -> str:
        """An index as part of a file name, such as `q12-c5`."""
        return "-".join(one.spelt(i) for one, i in zip(self.index, index, strict=True))

    def say(self, index: tuple[int, ...]) -> str:
        """An index in words, such as `query 12, class 5`."""
        return self.words.format(*(one.said(i) for one, i in zip(self.index, index, strict=True)))


#: What a class may be contrasted with, besides another class, and in words.
CONTRASTS = {
    "mean": "the mean of the other classes",
    "next": "the next class",
    "softmax": "all classes by softmax",
    "sigmoid": "all classes by sigmoid",
    "clrp": "all classes alike (CLRP)",
    "sglrp": "all classes by softmax (SGLRP)",
}

QUERY, CLASS = Index("query", "q", "q"), Index("class", "c", "c")
ROW, COLUMN = Index("y", "y", "y"), Index("x", "x", "x")
BOX_COORDINATES = ("cx", "cy", "w", "h")

COORDINATE = Index("coordinate", "i", "i", BOX_COORDINATES)

_ALL = (
    TargetKind("class_logit", (QUERY, CLASS), "query {0}, class {1}",
        output="pred_logits", query_of="pred_logits", of_detections=True),
    TargetKind("mask_logit", (QUERY, ROW, COLUMN),
        "query {0}, mask pixel y {1} x {2}",
        output="pred_masks", query_of="pred_masks", of_detections=True),
    TargetKind("box", (QUERY, COORDINATE), "query {0}, {1}",
        output="pred_boxes", query_of="pred_boxes", of_detections=True),
    # In inverse sigmoids: followed through all refinements, and the last refinement alone.
    TargetKind("box_logit", (QUERY, COORDINATE), "query {0}, logit of {1}",
        output="box_logits", query_of="pred_boxes", of_detections=True),
    TargetKind("box_refinement", (QUERY, COORDINATE), "query {0}, refinement of {1}",
        output="box_refinements", query_of="pred_boxes", of_detections=True),
    TargetKind("class", (CLASS,), "class {0}",
        output="logits", query_of="logits", of_detections=True),
    TargetKind("class_region", (Index("class", "c", "c"),), "pixels of class {0}",
        output="region_logits", query_of="region_logits", of_detections=True),
    TargetKind("class_pixel", (Index("class", "c", "c"), Index("y", "y", "y"),
        Index("x", "x", "x")), "class {0}, pixel y {1} x {2}",
        output="pixel_logits", query_of="pixel_logits", of_detections=True),
    TargetKind("encoder_feature", (Index("channel", "channel", "c"),), "channel {0}",
        layers="encoder.layers.", axes=(1,), token=0),
    # Query q is row q of every layer and of the outputs.
    TargetKind("decoder_query", (QUERY,), "query {0}",
        layers="decoder.layers.", query_of="pred_logits"),
    # What each decoder layer predicts, and what the encoder's proposals do.
    TargetKind("layer_class_logit", (QUERY, CLASS), "query {0}, class {1}",
        layers="output.layer_logits.", query_of="pred_logits"),
    TargetKind("layer_mask_logit", (QUERY, ROW, COLUMN), "query {0}, mask pixel y {1} x {2}",
        layers="output.layer_masks.", query_of="pred_masks"),
    TargetKind("layer_box", (QUERY, COORDINATE), "query {0}, {1}",
        layers="output.layer_boxes.", query_of="pred_boxes"),
    TargetKind("proposal_class_logit", (Index("proposal", "p", "p"), CLASS),
        "proposal {0}, class {1}", output="proposal_logits", query_of="proposal_logits"),
    # Many mask logits at once, with weights that sum to 1.
    TargetKind("mask", (QUERY,), "query {0}, its whole mask",
        output="pred_masks", query_of="pred_masks", of_detections=True, weighs="mask_logit"),
    TargetKind("mask_boundary", (QUERY,), "query {0}, the boundary of its mask",
        output="pred_masks", query_of="pred_masks", of_detections=True, weighs="mask_logit"),
    TargetKind("region",
        (QUERY, *(Index(name, name, name) for name in ("y0", "x0", "y1", "x1"))),
        "query {0}, mask pixels y {1} to {3}, x {2} to {4}",
        output="pred_masks", query_of="pred_masks", weighs="mask_logit"),
    TargetKind("panoptic_segment", (Index("segment", "n", "n"),), "panoptic segment {0}",
        output="pred_masks", of_detections=True, weighs="mask_logit"),
    TargetKind("semantic_segment", (CLASS,), "all of class {0}",
        output="pred_masks", of_detections=True, weighs="mask_logit"),
)  # fmt: skip
# Inside a layer, by stack: sublayer → its transform before the residual sum (`.pre_res`), and the
# norm that its output leaves. The feed-forward part's output is the layer's own.
SUBLAYERS: dict[str, dict[str, tuple[str, str]]] = {
    "encoder": {"self_attn": ("self_attn", "norm1"), "ffn": ("linear2", "")},
    "decoder": {
        "self_attn": ("self_attn:out0", "norm2"),
        "cross_attn": ("cross_attn", "norm1"),
        "ffn": ("linear2", ""),
    },
}
#: Those of models without queries, the one that is explained where none is asked for first.
OF_CLASSES = ("class", "class_region", "class_pixel")
KINDS: dict[str, TargetKind] = {kind.name: kind for kind in _ALL}
