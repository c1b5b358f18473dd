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
import inspect
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
from dataclasses import dataclass, field
from functools import partial, wraps
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves

# ---- The model: forward pass, then relevance, by kind of block ----------------------------------


def forward(w, saved, images):
    B = images.shape[0]
    s = saved[""]
    s["images"] = images
    # patches: convolution, epsilon(eps=1e-06)
    patches = F.conv2d(images, w["patches.weight"], w["patches.bias"], (4, 4), (0, 0), (1, 1), 1)  # f64[B,8,2,2]
    s["patches"] = patches
    del images
    # structural, pass
    reshape = patches.reshape((B, 8, 4))  # f64[B,8,4]
    s["reshape"] = reshape
    del patches
    permute = reshape.permute((0, 2, 1))  # f64[B,4,8]
    s["permute"] = permute
    del reshape
    # attention: linear, epsilon(eps=1e-06)
    attention_q_proj = F.linear(permute, w["attention.in_proj_weight@q"], w["attention.in_proj_bias@q"])  # f64[B,4,8]
    s["attention_q_proj"] = attention_q_proj
    # attention: structural, pass
    attention_q_split = attention_q_proj.reshape((B, 4, 2, 4))  # f64[B,4,2,4]
    s["attention_q_split"] = attention_q_split
    del attention_q_proj
    attention_q = attention_q_split.permute((0, 2, 1, 3))  # f64[B,2,4,4]
    s["attention_q"] = attention_q
    del attention_q_split
    # attention: linear, epsilon(eps=1e-06)
    attention_k_proj = F.linear(permute, w["attention.in_proj_weight@k"], w["attention.in_proj_bias@k"])  # f64[B,4,8]
    s["attention_k_proj"] = attention_k_proj
    # attention: structural, pass
    attention_k_split = attention_k_proj.reshape((B, 4, 2, 4))  # f64[B,4,2,4]
    s["attention_k_split"] = attention_k_split
    del attention_k_proj
    attention_k = attention_k_split.permute((0, 2, 1, 3))  # f64[B,2,4,4]
    s["attention_k"] = attention_k
    del attention_k_split
    # attention: linear, epsilon(eps=1e-06)
    attention_v_proj = F.linear(permute, w["attention.in_proj_weight@v"], w["attention.in_proj_bias@v"])  # f64[B,4,8]
    s["attention_v_proj"] = attention_v_proj
    # attention: structural, pass
    attention_v_split = attention_v_proj.reshape((B, 4, 2, 4))  # f64[B,4,2,4]
    s["attention_v_split"] = attention_v_split
    del attention_v_proj
    attention_v = attention_v_split.permute((0, 2, 1, 3))  # f64[B,2,4,4]
    s["attention_v"] = attention_v
    del attention_v_split
    attention_kt = attention_k.permute((0, 1, 3, 2))  # f64[B,2,4,4]
    s["attention_kt"] = attention_kt
    del attention_k
    attention_scaled = attention_q * 0.5  # f64[B,2,4,4]
    del attention_q
    # attention: attention_scores, uniform(eps=1e-06)
    attention_scores = attention_scaled @ attention_kt  # f64[B,2,4,4]
    s["attention_scores"] = attention_scores
    del attention_scaled, attention_kt
    # attention: attention_probabilities, taylor
    attention_probabilities = softmax_along(attention_scores, -1)  # f64[B,2,4,4]
    del attention_scores
    # attention: attention_values, uniform(eps=1e-06)
    attention_mixed = attention_probabilities @ attention_v  # f64[B,2,4,4]
    s["attention_mixed"] = attention_mixed
    del attention_probabilities, attention_v
    # attention: structural, pass
    attention_turned = attention_mixed.permute((0, 2, 1, 3))  # f64[B,4,2,4]
    s["attention_turned"] = attention_turned
    del attention_mixed
    attention_joined = attention_turned.reshape((B, 4, 8))  # f64[B,4,8]
    del attention_turned
    # attention: linear, epsilon(eps=1e-06)
    attention = F.linear(attention_joined, w["attention.out_proj.weight"], w["attention.out_proj.bias"])  # f64[B,4,8]
    s["attention"] = attention
    del attention_joined
    # residual, epsilon(eps=1e-06)
    add = permute + attention  # f64[B,4,8]
    del permute, attention
    # norm1: layer_norm, detach_sigma(eps=1e-06)
    norm1 = F.layer_norm(add, add.shape[-1:], w["norm1.weight"], w["norm1.bias"], 1e-05)  # f64[B,4,8]
    del add
    # linear1: linear, epsilon(eps=1e-06)
    linear1 = F.linear(norm1, w["linear1.weight"], w["linear1.bias"])  # f64[B,4,16]
    # activation, pass
    relu = linear1.relu_()  # f64[B,4,16]
    s["relu"] = relu
    del linear1
    # linear2: linear, epsilon(eps=1e-06)
    linear2 = F.linear(relu, w["linear2.weight"], w["linear2.bias"])  # f64[B,4,8]
    s["linear2"] = linear2
    del relu
    # residual, epsilon(eps=1e-06)
    add_1 = norm1.add_(linear2)  # f64[B,4,8]
    del norm1, linear2
    # norm2: layer_norm, detach_sigma(eps=1e-06)
    norm2 = F.layer_norm(add_1, add_1.shape[-1:], w["norm2.weight"], w["norm2.bias"], 1e-05)  # f64[B,4,8]
    s["norm2"] = norm2
    del add_1
    # structural, pass
    mean = norm2.mean((-2,), False)  # f64[B,8]
    del norm2
    # head: linear, epsilon(eps=1e-06)
    head = F.linear(mean, w["head.weight"], w["head.bias"])  # f64[B,4]
    s["head"] = head
    del mean
    return {"output": head}


def relevance_output(w, saved, seed, read):
    K = seed.shape[0]
    B = seed.shape[1]
    out = {}
    # head: epsilon(eps=1e-06)
    r_mul = stab_mul(seed, saved[""]["head"], 1e-06)  # f64[K,B,4]
    del seed
    r_linear_transpose = r_mul @ w["head.weight"]  # f64[K,B,8]
    del r_mul
    # pass
    r_reshape = r_linear_transpose.reshape((K, B, 1, 8))  # f64[K,B,1,8]
    del r_linear_transpose
    r_expand = r_reshape.expand((K, B, 4, 8))  # f64[K,B,4,8]
    del r_reshape
    r_scale = r_expand * 0.25  # f64[K,B,4,8]
    del r_expand
    if "block" in read:
        out["block"] = r_scale * saved[""]["norm2"]  # f64[K,B,4,8]
        if len(out) == len(read):
            return out
    # norm2: detach_sigma(eps=1e-06)
    r_mul_1 = stab_mul(r_scale, saved[""]["norm2"], 1e-06, over=True)  # f64[K,B,4,8]
    del r_scale
    # residual, epsilon(eps=1e-06)
    add_again = saved[""]["permute"] + saved[""]["attention"]  # f64[B,4,8]
    # norm1: layer_norm, detach_sigma(eps=1e-06)
    norm1_again = F.layer_norm(add_again, add_again.shape[-1:], w["norm1.weight"], w["norm1.bias"], 1e-05)  # f64[B,4,8]
    # residual, epsilon(eps=1e-06)
    add_1_again = norm1_again + saved[""]["linear2"]  # f64[B,4,8]
    # norm2: detach_sigma(eps=1e-06)
    r_rstd = rstd(add_1_again, 1e-05, 0)  # f64[B,4,1]
    r_layer_norm_transpose = layer_norm_transpose(r_mul_1, r_rstd, w["norm2.weight"])  # f64[K,B,4,8]
    del r_mul_1, r_rstd
    # epsilon(eps=1e-06)
    r_mul_2 = stab_mul(r_layer_norm_transpose, add_1_again, 1e-06, over=True)  # f64[K,B,4,8]
    del r_layer_norm_transpose, add_1_again
    # linear2: epsilon(eps=1e-06)
    r_mul_3 = stab_mul(r_mul_2, saved[""]["linear2"], 1e-06)  # f64[K,B,4,8]
    r_linear_transpose_1 = r_mul_3 @ w["linear2.weight"]  # f64[K,B,4,16]
    del r_mul_3
    # linear1: epsilon(eps=1e-06)
    r_mul_4 = stab_mul(r_linear_transpose_1, saved[""]["relu"], 1e-06, over=True)  # f64[K,B,4,16]
    del r_linear_transpose_1
    r_linear_transpose_2 = r_mul_4 @ w["linear1.weight"]  # f64[K,B,4,8]
    del r_mul_4
    r_add = r_mul_2.add_(r_linear_transpose_2)  # f64[K,B,4,8]
    del r_mul_2, r_linear_transpose_2
    # norm1: detach_sigma(eps=1e-06)
    r_mul_5 = stab_mul(r_add, norm1_again, 1e-06, over=True)  # f64[K,B,4,8]
    del r_add, norm1_again
    r_rstd_1 = rstd(add_again, 1e-05, 0)  # f64[B,4,1]
    r_layer_norm_transpose_1 = layer_norm_transpose(r_mul_5, r_rstd_1, w["norm1.weight"])  # f64[K,B,4,8]
    del r_mul_5, r_rstd_1
    # epsilon(eps=1e-06)
    r_mul_6 = stab_mul(r_layer_norm_transpose_1, add_again, 1e-06, over=True)  # f64[K,B,4,8]
    del r_layer_norm_transpose_1, add_again
    # attention: epsilon(eps=1e-06)
    r_mul_7 = stab_mul(r_mul_6, saved[""]["attention"], 1e-06)  # f64[K,B,4,8]
    r_linear_transpose_3 = r_mul_7 @ w["attention.out_proj.weight"]  # f64[K,B,4,8]
    del r_mul_7
    # attention: pass
    r_reshape_1 = r_linear_transpose_3.reshape((K, B, 4, 2, 4))  # f64[K,B,4,2,4]
    del r_linear_transpose_3
    r_permute = r_reshape_1.permute((0, 1, 3, 2, 4))  # f64[K,B,2,4,4]
    del r_reshape_1
    # attention: uniform(eps=1e-06)
    r_mul_8 = stab_mul(r_permute, saved[""]["attention_mixed"], 1e-06, over=True)  # f64[K,B,2,4,4]
    del r_permute
    r_permute_1 = saved[""]["attention_v_split"].permute((0, 2, 3, 1))  # f64[B,2,4,4]
    r_matmul = r_mul_8 @ r_permute_1  # f64[K,B,2,4,4]
    del r_permute_1
    r_scale_1 = r_matmul.mul_(0.5)  # f64[K,B,2,4,4]
    del r_matmul
    # attention: attention_probabilities, taylor
    attention_probabilities_again = softmax_along(saved[""]["attention_scores"], -1)  # f64[B,2,4,4]
    # attention: uniform(eps=1e-06)
    r_permute_2 = attention_probabilities_again.permute((0, 1, 3, 2))  # f64[B,2,4,4]
    r_matmul_1 = r_permute_2 @ r_mul_8  # f64[K,B,2,4,4]
    del r_permute_2, r_mul_8
    r_scale_2 = r_matmul_1.mul_(0.5)  # f64[K,B,2,4,4]
    del r_matmul_1
    # attention: taylor
    r_softmax_transpose = softmax_transpose(r_scale_1, attention_probabilities_again, -1)  # f64[K,B,2,4,4]
    del r_scale_1, attention_probabilities_again
    # attention: uniform(eps=1e-06)
    r_mul_9 = stab_mul(r_softmax_transpose, saved[""]["attention_scores"], 1e-06, over=True)  # f64[K,B,2,4,4]
    del r_softmax_transpose
    r_matmul_2 = r_mul_9 @ saved[""]["attention_k"]  # f64[K,B,2,4,4]
    # attention: structural, pass
    attention_scaled_again = saved[""]["attention_q"] * 0.5  # f64[B,2,4,4]
    # attention: uniform(eps=1e-06)
    r_permute_4 = attention_scaled_again.permute((0, 1, 3, 2))  # f64[B,2,4,4]
    del attention_scaled_again
    r_matmul_3 = r_permute_4 @ r_mul_9  # f64[K,B,2,4,4]
    del r_permute_4, r_mul_9
    r_scale_4 = r_matmul_3.mul_(0.5)  # f64[K,B,2,4,4]
    del r_matmul_3
    # attention: pass
    r_scale_5 = r_matmul_2.mul_(0.25)  # f64[K,B,2,4,4]
    del r_matmul_2
    r_permute_6 = r_scale_2.permute((0, 1, 3, 2, 4))  # f64[K,B,4,2,4]
    del r_scale_2
    r_reshape_2 = r_permute_6.reshape((K, B, 4, 8))  # f64[K,B,4,8]
    del r_permute_6
    # attention: epsilon(eps=1e-06)
    r_mul_10 = stab_mul(r_reshape_2, saved[""]["attention_v_proj"], 1e-06, over=True)  # f64[K,B,4,8]
    del r_reshape_2
    r_linear_transpose_4 = r_mul_10 @ w["attention.in_proj_weight@v"]  # f64[K,B,4,8]
    del r_mul_10
    r_add_1 = r_mul_6.add_(r_linear_transpose_4)  # f64[K,B,4,8]
    del r_mul_6, r_linear_transpose_4
    # attention: pass
    r_permute_7 = r_scale_4.permute((0, 1, 4, 2, 3))  # f64[K,B,4,2,4]
    del r_scale_4
    r_reshape_3 = r_permute_7.reshape((K, B, 4, 8))  # f64[K,B,4,8]
    del r_permute_7
    # attention: epsilon(eps=1e-06)
    r_mul_11 = stab_mul(r_reshape_3, saved[""]["attention_k_proj"], 1e-06, over=True)  # f64[K,B,4,8]
    del r_reshape_3
    r_linear_transpose_5 = r_mul_11 @ w["attention.in_proj_weight@k"]  # f64[K,B,4,8]
    del r_mul_11
    r_add_2 = r_add_1.add_(r_linear_transpose_5)  # f64[K,B,4,8]
    del r_add_1, r_linear_transpose_5
    # attention: pass
    r_permute_8 = r_scale_5.permute((0, 1, 3, 2, 4))  # f64[K,B,4,2,4]
    del r_scale_5
    r_reshape_4 = r_permute_8.reshape((K, B, 4, 8))  # f64[K,B,4,8]
    del r_permute_8
    # attention: epsilon(eps=1e-06)
    r_mul_12 = stab_mul(r_reshape_4, saved[""]["attention_q_proj"], 1e-06, over=True)  # f64[K,B,4,8]
    del r_reshape_4
    r_linear_transpose_6 = r_mul_12 @ w["attention.in_proj_weight@q"]  # f64[K,B,4,8]
    del r_mul_12
    r_add_3 = r_add_2.add_(r_linear_transpose_6)  # f64[K,B,4,8]
    del r_add_2, r_linear_transpose_6
    # pass
    r_permute_9 = r_add_3.permute((0, 1, 3, 2))  # f64[K,B,8,4]
    del r_add_3
    r_reshape_5 = r_permute_9.reshape((K, B, 8, 2, 2))  # f64[K,B,8,2,2]
    del r_permute_9
    # patches: epsilon(eps=1e-06)
    r_mul_13 = stab_mul(r_reshape_5, saved[""]["patches"], 1e-06, over=True)  # f64[K,B,8,2,2]
    del r_reshape_5
    r_reshape_6 = r_mul_13.reshape((K * B, 8, 2, 2))  # f64[K*B,8,2,2]
    del r_mul_13
    r_conv2d_transpose = conv2d_transpose(r_reshape_6, w["patches.weight"], (3, 8, 8), (4, 4), (0, 0), (1, 1), 1)  # f64[K*B,3,8,8]
    del r_reshape_6
    r_reshape_7 = r_conv2d_transpose.reshape((K, B, 3, 8, 8))  # f64[K,B,3,8,8]
    del r_conv2d_transpose
    if "input.images" in read:
        out["input.images"] = r_reshape_7 * saved[""]["images"]  # f64[K,B,3,8,8]
        if len(out) == len(read):
            return out
    del r_reshape_7
    return out


def relevance_output_ledger(w, saved, seed, read, ledger):
    K = seed.shape[0]
    B = seed.shape[1]
    out = {}
    ledger.append(inner(seed, saved[""]["head"], 1))
    ledger.append(inner(seed, saved[""]["head"], 1))
    # head: epsilon(eps=1e-06)
    r_mul = stab_mul(seed, saved[""]["head"], 1e-06)  # f64[K,B,4]
    r_sub = seed - r_mul  # f64[K,B,4]
    del seed
    ledger.append(inner(r_sub, saved[""]["head"], 1))
    del r_sub
    bias = w["head.bias"]  # f64[4]
    ledger.append(inner(r_mul, bias, 1))
    del bias
    r_linear_transpose = r_mul @ w["head.weight"]  # f64[K,B,8]
    del r_mul
    # structural, pass
    mean_again = saved[""]["norm2"].mean((-2,), False)  # f64[B,8]
    ledger.append(inner(r_linear_transpose, mean_again, 1))
    ledger.append(inner(r_linear_transpose, mean_again, 1))
    del mean_again
    # pass
    r_reshape = r_linear_transpose.reshape((K, B, 1, 8))  # f64[K,B,1,8]
    del r_linear_transpose
    r_expand = r_reshape.expand((K, B, 4, 8))  # f64[K,B,4,8]
    del r_reshape
    r_scale = r_expand * 0.25  # f64[K,B,4,8]
    del r_expand
    ledger.append(inner(r_scale, saved[""]["norm2"], 1))
    if "block" in read:
        out["block"] = r_scale * saved[""]["norm2"]  # f64[K,B,4,8]
    ledger.append(inner(r_scale, saved[""]["norm2"], 1))
    # norm2: detach_sigma(eps=1e-06)
    r_mul_1 = stab_mul(r_scale, saved[""]["norm2"], 1e-06)  # f64[K,B,4,8]
    r_sub_1 = r_scale.sub_(r_mul_1)  # f64[K,B,4,8]
    del r_scale
    ledger.append(inner(r_sub_1, saved[""]["norm2"], 1))
    del r_sub_1
    bias_1 = w["norm2.bias"]  # f64[8]
    ledger.append(inner(r_mul_1, bias_1, 1))
    del bias_1
    # residual, epsilon(eps=1e-06)
    add_again = saved[""]["permute"] + saved[""]["attention"]  # f64[B,4,8]
    # norm1: layer_norm, detach_sigma(eps=1e-06)
    norm1_again = F.layer_norm(add_again, add_again.shape[-1:], w["norm1.weight"], w["norm1.bias"], 1e-05)  # f64[B,4,8]
    # residual, epsilon(eps=1e-06)
    add_1_again = norm1_again + saved[""]["linear2"]  # f64[B,4,8]
    # norm2: detach_sigma(eps=1e-06)
    r_rstd = rstd(add_1_again, 1e-05, 0)  # f64[B,4,1]
    r_layer_norm_transpose = layer_norm_transpose(r_mul_1, r_rstd, w["norm2.weight"])  # f64[K,B,4,8]
    del r_mul_1, r_rstd
    ledger.append(inner(r_layer_norm_transpose, add_1_again, 1))
    ledger.append(inner(r_layer_norm_transpose, add_1_again, 1))
    # epsilon(eps=1e-06)
    r_mul_2 = stab_mul(r_layer_norm_transpose, add_1_again, 1e-06)  # f64[K,B,4,8]
    r_sub_2 = r_layer_norm_transpose.sub_(r_mul_2)  # f64[K,B,4,8]
    del r_layer_norm_transpose
    ledger.append(inner(r_sub_2, add_1_again, 1))
    del r_sub_2, add_1_again
    ledger.append(inner(r_mul_2, norm1_again, 1))
    ledger.append(inner(r_mul_2, saved[""]["linear2"], 1))
    ledger.append(inner(r_mul_2, saved[""]["linear2"], 1))
    # linear2: epsilon(eps=1e-06)
    r_mul_3 = stab_mul(r_mul_2, saved[""]["linear2"], 1e-06)  # f64[K,B,4,8]
    r_sub_3 = r_mul_2 - r_mul_3  # f64[K,B,4,8]
    ledger.append(inner(r_sub_3, saved[""]["linear2"], 1))
    del r_sub_3
    bias_2 = w["linear2.bias"]  # f64[8]
    ledger.append(inner(r_mul_3, bias_2, 1))
    del bias_2
    r_linear_transpose_1 = r_mul_3 @ w["linear2.weight"]  # f64[K,B,4,16]
    del r_mul_3
    ledger.append(inner(r_linear_transpose_1, saved[""]["relu"], 1))
    ledger.append(inner(r_linear_transpose_1, saved[""]["relu"], 1))
    # pass
    r_compare_scalar = torch.gt(saved[""]["relu"], 0.0)  # bool[B,4,16]
    r_gate = r_linear_transpose_1 * r_compare_scalar  # f64[K,B,4,16]
    del r_compare_scalar
    ledger.append(inner(r_gate, saved[""]["relu"], 1))
    ledger.append(inner(r_gate, saved[""]["relu"], 1))
    # linear1: epsilon(eps=1e-06)
    r_mul_4 = stab_mul(r_linear_transpose_1, saved[""]["relu"], 1e-06, over=True)  # f64[K,B,4,16]
    del r_linear_transpose_1
    r_sub_4 = r_gate.sub_(r_mul_4)  # f64[K,B,4,16]
    del r_gate
    ledger.append(inner(r_sub_4, saved[""]["relu"], 1))
    del r_sub_4
    bias_3 = w["linear1.bias"]  # f64[16]
    ledger.append(inner(r_mul_4, bias_3, 1))
    del bias_3
    r_linear_transpose_2 = r_mul_4 @ w["linear1.weight"]  # f64[K,B,4,8]
    del r_mul_4
    ledger.append(inner(r_linear_transpose_2, norm1_again, 1))
    r_add = r_mul_2.add_(r_linear_transpose_2)  # f64[K,B,4,8]
    del r_mul_2, r_linear_transpose_2
    ledger.append(inner(r_add, norm1_again, 1))
    # norm1: detach_sigma(eps=1e-06)
    r_mul_5 = stab_mul(r_add, norm1_again, 1e-06)  # f64[K,B,4,8]
    r_sub_5 = r_add.sub_(r_mul_5)  # f64[K,B,4,8]
    del r_add
    ledger.append(inner(r_sub_5, norm1_again, 1))
    del r_sub_5, norm1_again
    bias_4 = w["norm1.bias"]  # f64[8]
    ledger.append(inner(r_mul_5, bias_4, 1))
    del bias_4
    r_rstd_1 = rstd(add_again, 1e-05, 0)  # f64[B,4,1]
    r_layer_norm_transpose_1 = layer_norm_transpose(r_mul_5, r_rstd_1, w["norm1.weight"])  # f64[K,B,4,8]
    del r_mul_5, r_rstd_1
    ledger.append(inner(r_layer_norm_transpose_1, add_again, 1))
    ledger.append(inner(r_layer_norm_transpose_1, add_again, 1))
    # epsilon(eps=1e-06)
    r_mul_6 = stab_mul(r_layer_norm_transpose_1, add_again, 1e-06)  # f64[K,B,4,8]
    r_sub_6 = r_layer_norm_transpose_1.sub_(r_mul_6)  # f64[K,B,4,8]
    del r_layer_norm_transpose_1
    ledger.append(inner(r_sub_6, add_again, 1))
    del r_sub_6, add_again
    ledger.append(inner(r_mul_6, saved[""]["permute"], 1))
    ledger.append(inner(r_mul_6, saved[""]["attention"], 1))
    ledger.append(inner(r_mul_6, saved[""]["attention"], 1))
    # attention: epsilon(eps=1e-06)
    r_mul_7 = stab_mul(r_mul_6, saved[""]["attention"], 1e-06)  # f64[K,B,4,8]
    r_sub_7 = r_mul_6 - r_mul_7  # f64[K,B,4,8]
    ledger.append(inner(r_sub_7, saved[""]["attention"], 1))
    del r_sub_7
    bias_5 = w["attention.out_proj.bias"]  # f64[8]
    ledger.append(inner(r_mul_7, bias_5, 1))
    del bias_5
    r_linear_transpose_3 = r_mul_7 @ w["attention.out_proj.weight"]  # f64[K,B,4,8]
    del r_mul_7
    # attention: structural, pass
    attention_joined_again = saved[""]["attention_turned"].reshape((B, 4, 8))  # f64[B,4,8]
    ledger.append(inner(r_linear_transpose_3, attention_joined_again, 1))
    ledger.append(inner(r_linear_transpose_3, attention_joined_again, 1))
    del attention_joined_again
    # attention: pass
    r_reshape_1 = r_linear_transpose_3.reshape((K, B, 4, 2, 4))  # f64[K,B,4,2,4]
    del r_linear_transpose_3
    ledger.append(inner(r_reshape_1, saved[""]["attention_turned"], 1))
    ledger.append(inner(r_reshape_1, saved[""]["attention_turned"], 1))
    r_permute = r_reshape_1.permute((0, 1, 3, 2, 4))  # f64[K,B,2,4,4]
    del r_reshape_1
    ledger.append(inner(r_permute, saved[""]["attention_mixed"], 1))
    ledger.append(inner(r_permute, saved[""]["attention_mixed"], 1))
    # attention: uniform(eps=1e-06)
    r_mul_8 = stab_mul(r_permute, saved[""]["attention_mixed"], 1e-06)  # f64[K,B,2,4,4]
    r_sub_8 = r_permute.sub_(r_mul_8)  # f64[K,B,2,4,4]
    del r_permute
    ledger.append(inner(r_sub_8, saved[""]["attention_mixed"], 1))
    del r_sub_8
    r_permute_1 = saved[""]["attention_v_split"].permute((0, 2, 3, 1))  # f64[B,2,4,4]
    r_matmul = r_mul_8 @ r_permute_1  # f64[K,B,2,4,4]
    del r_permute_1
    r_scale_1 = r_matmul.mul_(0.5)  # f64[K,B,2,4,4]
    del r_matmul
    # attention: attention_probabilities, taylor
    attention_probabilities_again = softmax_along(saved[""]["attention_scores"], -1)  # f64[B,2,4,4]
    ledger.append(inner(r_scale_1, attention_probabilities_again, 1))
    # attention: uniform(eps=1e-06)
    r_permute_2 = attention_probabilities_again.permute((0, 1, 3, 2))  # f64[B,2,4,4]
    r_matmul_1 = r_permute_2 @ r_mul_8  # f64[K,B,2,4,4]
    del r_permute_2, r_mul_8
    r_scale_2 = r_matmul_1.mul_(0.5)  # f64[K,B,2,4,4]
    del r_matmul_1
    ledger.append(inner(r_scale_2, saved[""]["attention_v"], 1))
    ledger.append(inner(r_scale_1, attention_probabilities_again, 1))
    # attention: taylor
    r_softmax_transpose = softmax_transpose(r_scale_1, attention_probabilities_again, -1)  # f64[K,B,2,4,4]
    ledger.append(inner(r_scale_1, attention_probabilities_again, 1))
    del r_scale_1, attention_probabilities_again
    ledger.append(-inner(r_softmax_transpose, saved[""]["attention_scores"], 1))
    ledger.append(inner(r_softmax_transpose, saved[""]["attention_scores"], 1))
    ledger.append(inner(r_softmax_transpose, saved[""]["attention_scores"], 1))
    # attention: uniform(eps=1e-06)
    r_mul_9 = stab_mul(r_softmax_transpose, saved[""]["attention_scores"], 1e-06)  # f64[K,B,2,4,4]
    r_sub_9 = r_softmax_transpose.sub_(r_mul_9)  # f64[K,B,2,4,4]
    del r_softmax_transpose
    ledger.append(inner(r_sub_9, saved[""]["attention_scores"], 1))
    del r_sub_9
    r_matmul_2 = r_mul_9 @ saved[""]["attention_k"]  # f64[K,B,2,4,4]
    r_scale_3 = r_matmul_2 * 0.5  # f64[K,B,2,4,4]
    # attention: structural, pass
    attention_scaled_again = saved[""]["attention_q"] * 0.5  # f64[B,2,4,4]
    ledger.append(inner(r_scale_3, attention_scaled_again, 1))
    # attention: uniform(eps=1e-06)
    r_permute_4 = attention_scaled_again.permute((0, 1, 3, 2))  # f64[B,2,4,4]
    r_matmul_3 = r_permute_4 @ r_mul_9  # f64[K,B,2,4,4]
    del r_permute_4, r_mul_9
    r_scale_4 = r_matmul_3.mul_(0.5)  # f64[K,B,2,4,4]
    del r_matmul_3
    ledger.append(inner(r_scale_4, saved[""]["attention_kt"], 1))
    ledger.append(inner(r_scale_3, attention_scaled_again, 1))
    del r_scale_3, attention_scaled_again
    # attention: pass
    r_scale_5 = r_matmul_2.mul_(0.25)  # f64[K,B,2,4,4]
    del r_matmul_2
    ledger.append(inner(r_scale_5, saved[""]["attention_q"], 1))
    ledger.append(inner(r_scale_4, saved[""]["attention_kt"], 1))
    r_permute_5 = r_scale_4.permute((0, 1, 2, 4, 3))  # f64[K,B,2,4,4]
    ledger.append(inner(r_permute_5, saved[""]["attention_k"], 1))
    ledger.append(inner(r_scale_2, saved[""]["attention_v"], 1))
    r_permute_6 = r_scale_2.permute((0, 1, 3, 2, 4))  # f64[K,B,4,2,4]
    del r_scale_2
    ledger.append(inner(r_permute_6, saved[""]["attention_v_split"], 1))
    ledger.append(inner(r_permute_6, saved[""]["attention_v_split"], 1))
    r_reshape_2 = r_permute_6.reshape((K, B, 4, 8))  # f64[K,B,4,8]
    del r_permute_6
    ledger.append(inner(r_reshape_2, saved[""]["attention_v_proj"], 1))
    ledger.append(inner(r_reshape_2, saved[""]["attention_v_proj"], 1))
    # attention: epsilon(eps=1e-06)
    r_mul_10 = stab_mul(r_reshape_2, saved[""]["attention_v_proj"], 1e-06)  # f64[K,B,4,8]
    r_sub_10 = r_reshape_2.sub_(r_mul_10)  # f64[K,B,4,8]
    del r_reshape_2
    ledger.append(inner(r_sub_10, saved[""]["attention_v_proj"], 1))
    del r_sub_10
    in_proj_bias_v = w["attention.in_proj_bias@v"]  # f64[8]
    ledger.append(inner(r_mul_10, in_proj_bias_v, 1))
    del in_proj_bias_v
    r_linear_transpose_4 = r_mul_10 @ w["attention.in_proj_weight@v"]  # f64[K,B,4,8]
    del r_mul_10
    ledger.append(inner(r_linear_transpose_4, saved[""]["permute"], 1))
    r_add_1 = r_mul_6.add_(r_linear_transpose_4)  # f64[K,B,4,8]
    del r_mul_6, r_linear_transpose_4
    ledger.append(inner(r_permute_5, saved[""]["attention_k"], 1))
    del r_permute_5
    # attention: pass
    r_permute_7 = r_scale_4.permute((0, 1, 4, 2, 3))  # f64[K,B,4,2,4]
    del r_scale_4
    ledger.append(inner(r_permute_7, saved[""]["attention_k_split"], 1))
    ledger.append(inner(r_permute_7, saved[""]["attention_k_split"], 1))
    r_reshape_3 = r_permute_7.reshape((K, B, 4, 8))  # f64[K,B,4,8]
    del r_permute_7
    ledger.append(inner(r_reshape_3, saved[""]["attention_k_proj"], 1))
    ledger.append(inner(r_reshape_3, saved[""]["attention_k_proj"], 1))
    # attention: epsilon(eps=1e-06)
    r_mul_11 = stab_mul(r_reshape_3, saved[""]["attention_k_proj"], 1e-06)  # f64[K,B,4,8]
    r_sub_11 = r_reshape_3.sub_(r_mul_11)  # f64[K,B,4,8]
    del r_reshape_3
    ledger.append(inner(r_sub_11, saved[""]["attention_k_proj"], 1))
    del r_sub_11
    in_proj_bias_k = w["attention.in_proj_bias@k"]  # f64[8]
    ledger.append(inner(r_mul_11, in_proj_bias_k, 1))
    del in_proj_bias_k
    r_linear_transpose_5 = r_mul_11 @ w["attention.in_proj_weight@k"]  # f64[K,B,4,8]
    del r_mul_11
    ledger.append(inner(r_linear_transpose_5, saved[""]["permute"], 1))
    r_add_2 = r_add_1.add_(r_linear_transpose_5)  # f64[K,B,4,8]
    del r_add_1, r_linear_transpose_5
    ledger.append(inner(r_scale_5, saved[""]["attention_q"], 1))
    # attention: pass
    r_permute_8 = r_scale_5.permute((0, 1, 3, 2, 4))  # f64[K,B,4,2,4]
    del r_scale_5
    ledger.append(inner(r_permute_8, saved[""]["attention_q_split"], 1))
    ledger.append(inner(r_permute_8, saved[""]["attention_q_split"], 1))
    r_reshape_4 = r_permute_8.reshape((K, B, 4, 8))  # f64[K,B,4,8]
    del r_permute_8
    ledger.append(inner(r_reshape_4, saved[""]["attention_q_proj"], 1))
    ledger.append(inner(r_reshape_4, saved[""]["attention_q_proj"], 1))
    # attention: epsilon(eps=1e-06)
    r_mul_12 = stab_mul(r_reshape_4, saved[""]["attention_q_proj"], 1e-06)  # f64[K,B,4,8]
    r_sub_12 = r_reshape_4.sub_(r_mul_12)  # f64[K,B,4,8]
    del r_reshape_4
    ledger.append(inner(r_sub_12, saved[""]["attention_q_proj"], 1))
    del r_sub_12
    in_proj_bias_q = w["attention.in_proj_bias@q"]  # f64[8]
    ledger.append(inner(r_mul_12, in_proj_bias_q, 1))
    del in_proj_bias_q
    r_linear_transpose_6 = r_mul_12 @ w["attention.in_proj_weight@q"]  # f64[K,B,4,8]
    del r_mul_12
    ledger.append(inner(r_linear_transpose_6, saved[""]["permute"], 1))
    r_add_3 = r_add_2.add_(r_linear_transpose_6)  # f64[K,B,4,8]
    del r_add_2, r_linear_transpose_6
    ledger.append(inner(r_add_3, saved[""]["permute"], 1))
    # pass
    r_permute_9 = r_add_3.permute((0, 1, 3, 2))  # f64[K,B,8,4]
    del r_add_3
    ledger.append(inner(r_permute_9, saved[""]["reshape"], 1))
    ledger.append(inner(r_permute_9, saved[""]["reshape"], 1))
    r_reshape_5 = r_permute_9.reshape((K, B, 8, 2, 2))  # f64[K,B,8,2,2]
    del r_permute_9
    ledger.append(inner(r_reshape_5, saved[""]["patches"], 1))
    ledger.append(inner(r_reshape_5, saved[""]["patches"], 1))
    # patches: epsilon(eps=1e-06)
    r_mul_13 = stab_mul(r_reshape_5, saved[""]["patches"], 1e-06)  # f64[K,B,8,2,2]
    r_sub_13 = r_reshape_5.sub_(r_mul_13)  # f64[K,B,8,2,2]
    del r_reshape_5
    ledger.append(inner(r_sub_13, saved[""]["patches"], 1))
    del r_sub_13
    bias_6 = w["patches.bias"]  # f64[8]
    r_reshape_6 = bias_6.reshape((8, 1, 1))  # f64[8,1,1]
    del bias_6
    ledger.append(inner(r_mul_13, r_reshape_6, 1))
    del r_reshape_6
    r_reshape_7 = r_mul_13.reshape((K * B, 8, 2, 2))  # f64[K*B,8,2,2]
    del r_mul_13
    r_conv2d_transpose = conv2d_transpose(r_reshape_7, w["patches.weight"], (3, 8, 8), (4, 4), (0, 0), (1, 1), 1)  # f64[K*B,3,8,8]
    del r_reshape_7
    r_reshape_8 = r_conv2d_transpose.reshape((K, B, 3, 8, 8))  # f64[K,B,3,8,8]
    del r_conv2d_transpose
    ledger.append(inner(r_reshape_8, saved[""]["images"], 1))
    if "input.images" in read:
        out["input.images"] = r_reshape_8 * saved[""]["images"]  # f64[K,B,3,8,8]
    ledger.append(inner(r_reshape_8, saved[""]["images"], 1))
    del r_reshape_8
    return out


# ---- Runtime: the same in every program ---------------------------------------------------------


INTERFACE = Interface(
    forward=forward,
    inputs={
        "images": ("torch.float64", ("B", 3, 8, 8,)),
    },
    blocks=(
        "",
    ),
    targets={
        "output": Target(
            relevance_output, relevance_output_ledger, ("", "head"),
            shape=("B", 4,), batch_axis=0,
            index_axes=(1,), index_names=("index0",),
            token_axis=None, reads=("block", "input.images"),
        ),
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
