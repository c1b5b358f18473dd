"""The roles in the graphs of each family are those that its architecture has."""

from __future__ import annotations

import pytest

import lrpc
from lrpc.ir.parser import parse_graph
from tests.zoo.entry import built, example
from tests.zoo.packages import PACKAGES
from tests.zoo.roles import EXPECTED, roles_of

FAST = {
    ("transformers", name)
    for name in ("ViT", "Swin", "GPT-2", "Llama", "DETR", "Deformable DETR", "RT-DETR")
} | {("torchvision", "MViT")}


@pytest.mark.parametrize(
    ("package", "name"),
    [pytest.param(*key, marks=() if key in FAST else pytest.mark.slow) for key in EXPECTED],
)
def test_roles(package: str, name: str) -> None:
    entry = PACKAGES[package][name]
    program = lrpc.compile(built(entry), (example(entry),), composite="attnlrp", check=False)
    graph = parse_graph((program.directory / "graph.lrp").read_text())
    assert roles_of(graph) == EXPECTED[package, name]
