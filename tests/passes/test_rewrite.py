"""Rewrites keep types: what every pass that replaces nodes is held to."""

from __future__ import annotations

import pytest

from lrpc.errors import IRError
from passes.rewrite import rewrite
from tests.support.graphs import module


def test_a_rewrite_that_changes_a_type_is_refused() -> None:
    before = module("graph @g(%x: f32[B,4]) {\n  %a: f32[B,4] = relu(%x)\n  return %a\n}")
    with pytest.raises(IRError, match=r"rewriting %a = relu changed its type from f32\[B,4\] to"):
        rewrite(before, lambda node, new: new.op("permute", node.inputs[0], dims=(1, 0)))
