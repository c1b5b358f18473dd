"""Relevance program `Tiny`, made by lrpc 0.1.0. Change the config, not this file.

It needs torch and the files beside it, nothing else:

    import program
    p = program.load(device="cpu")
    state = p.forward(images)
    R = p.relevance(state, "output", at=[(0,)])

Targets: output.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import difflib
import functools
import hashlib
import importlib
import inspect
import io
import json
import math
import os
import re
import shutil
import struct
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial, wraps
from importlib.machinery import PathFinder
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves

# ---- The model: forward pass, then relevance, by kind of block ----------------------------------


def epsilon_linear(w, p, g, x, ledger):
    # epsilon(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06)  # f64[K,B,4]
    book(ledger, g_2, x, rest=True)
    book(ledger, g_2, w[p + "bias"])
    return linear_transpose(g_2, w[p + "weight"])  # f64[K,B,8]


def rule_pass(g):
    K, B = g.shape[:2]
    # pass
    return g.unflatten(-1, (1, -1)).expand((K, B, 4, 8)) * 0.25  # f64[K,B,4,8]


def detach_sigma_layer_norm(w, p, g, x, x_2, ledger):
    # detach_sigma(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06, over=True)  # f64[K,B,4,8]
    book(ledger, g_2, x, rest=True)
    book(ledger, g_2, w[p + "bias"])
    inverse_std = rstd(x_2, 1e-05, 0)  # f64[B,4,1]
    return layer_norm_transpose(g_2, inverse_std, w[p + "weight"])  # f64[K,B,4,8]


def epsilon(g, x, ledger):
    # epsilon(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06, over=True)  # f64[K,B,4,8]
    book(ledger, g_2, x, rest=True)
    return g_2


def epsilon_linear_2(w, p, g, x, ledger):
    # epsilon(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06)  # f64[K,B,4,8]
    book(ledger, g_2, x, rest=True)
    book(ledger, g_2, w[p + "bias"])
    return linear_transpose(g_2, w[p + "weight"])  # f64[K,B,4,C]


def epsilon_linear_3(w, p, g, x, ledger):
    # epsilon(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06, over=True)  # f64[K,B,4,16]
    book(ledger, g_2, x, rest=True)
    book(ledger, g_2, w[p + "bias"])
    return linear_transpose(g_2, w[p + "weight"])  # f64[K,B,4,8]


def rule_pass_2(g):
    # pass
    return g.unflatten(-1, (2, 4)).permute((0, 1, 3, 2, 4))  # f64[K,B,2,4,4]


def uniform_matmul(g, x, x_2, x_3, ledger):
    # uniform(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06, over=True)  # f64[K,B,2,4,4]
    book(ledger, g_2, x, rest=True)
    g_3 = (g_2 @ x_2.permute((0, 2, 3, 1))).mul_(0.5)  # f64[K,B,2,4,4]
    book(ledger, g_3, x_3)
    g_2 = (x_3.permute((0, 1, 3, 2)) @ g_2).mul_(0.5)  # f64[K,B,2,4,4]
    return g_3, g_2


def taylor_softmax(g, x, x_2, ledger):
    # taylor
    g_2 = softmax_transpose(g, x, -1)  # f64[K,B,2,4,4]
    book(ledger, g_2, x_2, negative=True)
    return g_2


def pass_matmul(g, x, x_2, x_3, x_4, ledger):
    # uniform(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06, over=True)  # f64[K,B,2,4,4]
    book(ledger, g_2, x, rest=True)
    g_3 = g_2 @ x_2  # f64[K,B,2,4,4]
    if ledger is not None:
        g_4 = g_3 * 0.5  # f64[K,B,2,4,4]
        book(ledger, g_4, x_3)
    g_2 = (x_3.permute((0, 1, 3, 2)) @ g_2).mul_(0.5)  # f64[K,B,2,4,4]
    book(ledger, g_2, x_4)
    if ledger is not None:
        book(ledger, g_4, x_3)
        del g_4
    return g_3, g_2


def pass_linear(w, p, g, g_2, g_3, g_4, x, x_2, x_3, x_4, x_5, x_6, ledger):
    # pass
    g_5 = g.mul_(0.25)  # f64[K,B,2,4,4]
    book(ledger, g_5, x)
    book(ledger, g_2, x_2, times=2)
    if ledger is not None:
        g_6 = g_2.permute((0, 1, 2, 4, 3))  # f64[K,B,2,4,4]
    book(ledger, g_3, x_3, times=5)
    g_7 = g_3.permute((0, 1, 3, 2, 4)).flatten(-2, -1)  # f64[K,B,4,8]
    # epsilon(eps=1e-06)
    g_7 = stab_mul(g_7, x_4, 1e-06, over=True)  # f64[K,B,4,8]
    book(ledger, g_7, x_4, rest=True)
    book(ledger, g_7, w[p + "in_proj_bias@v"])
    g_7 = linear_transpose(g_7, w[p + "in_proj_weight@v"])  # f64[K,B,4,8]
    book(ledger, g_7, x_5)
    g_7 = g_4.add_(g_7)  # f64[K,B,4,8]
    if ledger is not None:
        book(ledger, g_6, x_6, times=5)
        del g_6
    return g_5, g_7


def rule_pass_3(g):
    # pass
    return g.permute((0, 1, 4, 2, 3)).flatten(-2, -1)  # f64[K,B,4,8]


def epsilon_linear_5(w, p, g, x, ledger):
    # epsilon(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06, over=True)  # f64[K,B,4,8]
    book(ledger, g_2, x, rest=True)
    book(ledger, g_2, w[p + "in_proj_bias@k"])
    return linear_transpose(g_2, w[p + "in_proj_weight@k"])  # f64[K,B,4,8]


def rule_pass_4(g):
    # pass
    return g.permute((0, 1, 3, 2, 4)).flatten(-2, -1)  # f64[K,B,4,8]


def epsilon_linear_6(w, p, g, x, ledger):
    # epsilon(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06, over=True)  # f64[K,B,4,8]
    book(ledger, g_2, x, rest=True)
    book(ledger, g_2, w[p + "in_proj_bias@q"])
    return linear_transpose(g_2, w[p + "in_proj_weight@q"])  # f64[K,B,4,8]


def rule_pass_5(g):
    # pass
    return g.permute((0, 1, 3, 2)).unflatten(-1, (2, 2))  # f64[K,B,8,2,2]


def epsilon_conv2d(w, p, g, x, ledger):
    K, B = g.shape[:2]
    # epsilon(eps=1e-06)
    g_2 = stab_mul(g, x, 1e-06, over=True)  # f64[K,B,8,2,2]
    book(ledger, g_2, x, rest=True)
    book(ledger, g_2, w[p + "bias"].unflatten(0, (-1, 1, 1)))
    g_2 = g_2.flatten(0, 1)  # f64[K*B,8,2,2]
    # f64[K,B,3,8,8]
    return conv2d_transpose(g_2, w[p + "weight"], (3, 8, 8), stride=(4, 4)).unflatten(0, (K, B))


def forward(w, saved, images):
    s = saved[""]
    s["images"] = images
    s["patches"] = patches = F.conv2d(images, *pair(w, "patches.*"), stride=(4, 4))  # f64[B,8,2,2]
    del images
    s["permute"] = patches = patches.flatten(-2, -1).permute((0, 2, 1))  # f64[B,4,8]
    # f64[B,4,8]
    s["attention_q_proj"] = attention_q = linear(patches, *pair(w, "attention.in_proj_*@q"))
    # attention
    # f64[B,2,4,4]
    s["attention_q"] = attention_q = attention_q.unflatten(-1, (2, 4)).permute((0, 2, 1, 3))
    # f64[B,4,8]
    s["attention_k_proj"] = attention_k = linear(patches, *pair(w, "attention.in_proj_*@k"))
    # f64[B,2,4,4]
    s["attention_k"] = attention_k = attention_k.unflatten(-1, (2, 4)).permute((0, 2, 1, 3))
    # f64[B,4,8]
    s["attention_v_proj"] = attention_v = linear(patches, *pair(w, "attention.in_proj_*@v"))
    s["attention_v_split"] = attention_v = attention_v.unflatten(-1, (2, 4))  # f64[B,4,2,4]
    s["attention_v"] = attention_v = attention_v.permute((0, 2, 1, 3))  # f64[B,2,4,4]
    s["attention_kt"] = attention_k = attention_k.permute((0, 1, 3, 2))  # f64[B,2,4,4]
    attention_scaled = attention_q * 0.5  # f64[B,2,4,4]
    del attention_q
    attention_scores = attention_scaled @ attention_k  # f64[B,2,4,4]
    del attention_k, attention_scaled
    attention_probabilities = softmax_along(attention_scores, -1)  # f64[B,2,4,4]
    del attention_scores
    # f64[B,4,8]
    attention_joined = (attention_probabilities @ attention_v).permute((0, 2, 1, 3)).flatten(-2, -1)
    del attention_v, attention_probabilities
    # f64[B,4,8]
    s["attention"] = attention = linear(attention_joined, *pair(w, "attention.out_proj.*"))
    del attention_joined
    add = patches + attention  # f64[B,4,8]
    del patches, attention
    norm1 = F.layer_norm(add, add.shape[-1:], *pair(w, "norm1.*"), 1e-05)  # f64[B,4,8]
    del add
    s["relu"] = relu = linear(norm1, *pair(w, "linear1.*")).relu_()  # f64[B,4,16]
    s["linear2"] = linear2 = linear(relu, *pair(w, "linear2.*"))  # f64[B,4,8]
    del relu
    norm1 = norm1.add_(linear2)  # f64[B,4,8]
    del linear2
    # f64[B,4,8]
    s["norm2"] = norm2 = F.layer_norm(norm1, norm1.shape[-1:], *pair(w, "norm2.*"), 1e-05)
    del norm1
    mean = norm2.mean((-2,), False)  # f64[B,8]
    del norm2
    s["head"] = head = linear(mean, *pair(w, "head.*"))  # f64[B,4]
    return {"output": head}


def relevance_output(w, saved, seed, read, ledger=None):
    out = {}
    s = saved[""]
    book(ledger, seed, s["head"], times=2)
    if ledger is not None:
        mean = s["norm2"].mean((-2,), False)  # f64[B,8]
    g = epsilon_linear(w, "head.", seed, s["head"], ledger)  # f64[K,B,8]
    del seed
    if ledger is not None:
        book(ledger, g, mean, times=2)
        del mean
    g = rule_pass(g)  # f64[K,B,4,8]
    book(ledger, g, s["norm2"], times=2)
    if hand_out(out, read, ledger, "block", g, s["norm2"]):
        return out
    add = s["permute"] + s["attention"]  # f64[B,4,8]
    norm1 = F.layer_norm(add, add.shape[-1:], *pair(w, "norm1.*"), 1e-05)  # f64[B,4,8]
    add_2 = norm1 + s["linear2"]  # f64[B,4,8]
    g = detach_sigma_layer_norm(w, "norm2.", g, s["norm2"], add_2, ledger)  # f64[K,B,4,8]
    book(ledger, g, add_2, times=2)
    g = epsilon(g, add_2, ledger)  # f64[K,B,4,8]
    del add_2
    book(ledger, g, norm1)
    book(ledger, g, s["linear2"], times=2)
    g_2 = epsilon_linear_2(w, "linear2.", g, s["linear2"], ledger)  # f64[K,B,4,16]
    book(ledger, g_2, s["relu"], times=4)
    g_2 = epsilon_linear_3(w, "linear1.", g_2, s["relu"], ledger)  # f64[K,B,4,8]
    book(ledger, g_2, norm1)
    # linear1: epsilon(eps=1e-06)
    g = g.add_(g_2)  # f64[K,B,4,8]
    del g_2
    book(ledger, g, norm1)
    g = detach_sigma_layer_norm(w, "norm1.", g, norm1, add, ledger)  # f64[K,B,4,8]
    del norm1
    book(ledger, g, add, times=2)
    g = epsilon(g, add, ledger)  # f64[K,B,4,8]
    del add
    book(ledger, g, s["permute"])
    book(ledger, g, s["attention"], times=2)
    # attention
    attention_scaled = s["attention_q"] * 0.5  # f64[B,2,4,4]
    attention_scores = attention_scaled @ s["attention_kt"]  # f64[B,2,4,4]
    attention_probabilities = softmax_along(attention_scores, -1)  # f64[B,2,4,4]
    attention_mixed = attention_probabilities @ s["attention_v"]  # f64[B,2,4,4]
    if ledger is not None:
        attention_joined = attention_mixed.permute((0, 2, 1, 3)).flatten(-2, -1)  # f64[B,4,8]
    g_2 = epsilon_linear_2(w, "attention.out_proj.", g, s["attention"], ledger)  # f64[K,B,4,8]
    if ledger is not None:
        book(ledger, g_2, attention_joined, times=6)
        del attention_joined
    g_2 = rule_pass_2(g_2)  # f64[K,B,2,4,4]
    g_2, g_3 = uniform_matmul(
        g_2, attention_mixed, s["attention_v_split"], attention_probabilities, ledger
    )
    del attention_mixed
    book(ledger, g_3, s["attention_v"])
    book(ledger, g_2, attention_probabilities, times=2)
    g_2 = taylor_softmax(g_2, attention_probabilities, attention_scores, ledger)  # f64[K,B,2,4,4]
    del attention_probabilities
    book(ledger, g_2, attention_scores, times=2)
    g_2, g_4 = pass_matmul(
        g_2, attention_scores, s["attention_k"], attention_scaled, s["attention_kt"], ledger
    )
    del attention_scores, attention_scaled
    g_2, g_3 = pass_linear(
        w,
        "attention.",
        g_2,
        g_4,
        g_3,
        g,
        s["attention_q"],
        s["attention_kt"],
        s["attention_v"],
        s["attention_v_proj"],
        s["permute"],
        s["attention_k"],
        ledger,
    )
    del g
    g_4 = rule_pass_3(g_4)  # f64[K,B,4,8]
    g_4 = epsilon_linear_5(w, "attention.", g_4, s["attention_k_proj"], ledger)  # f64[K,B,4,8]
    book(ledger, g_4, s["permute"])
    # attention: epsilon(eps=1e-06)
    g_3 = g_3.add_(g_4)  # f64[K,B,4,8]
    del g_4
    book(ledger, g_2, s["attention_q"], times=5)
    g_2 = rule_pass_4(g_2)  # f64[K,B,4,8]
    g_2 = epsilon_linear_6(w, "attention.", g_2, s["attention_q_proj"], ledger)  # f64[K,B,4,8]
    book(ledger, g_2, s["permute"])
    # attention: epsilon(eps=1e-06)
    g_3 = g_3.add_(g_2)  # f64[K,B,4,8]
    del g_2
    book(ledger, g_3, s["permute"], times=5)
    g_3 = rule_pass_5(g_3)  # f64[K,B,8,2,2]
    g_3 = epsilon_conv2d(w, "patches.", g_3, s["patches"], ledger)  # f64[K,B,3,8,8]
    book(ledger, g_3, s["images"], times=2)
    if hand_out(out, read, ledger, "input.images", g_3, s["images"]):
        return out
    return out


# ---- Runtime: the same in every program ---------------------------------------------------------


INTERFACE = Interface(
    forward=forward,
    inputs={"images": ("torch.float64", ("B", 3, 8, 8))},
    blocks=("",),
    targets={
        "output": Target(
            relevance_output,
            ("", "head"),
            shape=("B", 4),
            batch_axis=0,
            index_axes=(1,),
            index_names=("index0",),
            token_axis=None,
            reads=("block", "input.images"),
        )
    },
    read_inputs={"input.images": "images"},
    structure="output",
    dtype=torch.float64,
    tf32=False,
    chunk=8,
)
SOURCE = source_checksum(globals().get("__file__"))


def load(path=None, device="cpu", *, compile=False, capture=False, keep_pages=False):
    """The program with its weights on `device`; its files are checked first.

    `compile` runs its functions through torch.compile: each once for every shape of its inputs and
    seeds and every choice of places, when it is first called. `capture` (CUDA only) replays them as
    CUDA graphs, one for each of these; a state then lasts until the next forward of its shape.
    `keep_pages` (glibc only) has this process keep what CPU tensors free, for good: large batches
    then need no new pages from the system.
    """
    own = (__name__, __file__, SOURCE)
    return opened(INTERFACE, own, path, device, compile, capture, keep_pages)
