"""What a model of transformers that takes text as well is given: LRPC.TEXT as tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrpc.config import Config
from lrpc.errors import ConfigError

TASKS = ("instance", "semantic", "panoptic")


@dataclass(frozen=True)
class Text:
    """Text as a model takes it: `inputs` [1, T] by name. A model that finds what the text names has
    its `phrases`, and `spans` [C, T], which says what tokens each has."""

    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    phrases: tuple[str, ...] = ()
    spans: Tensor | None = None


def takes_phrases(takes: Mapping[str, Any]) -> bool:
    """Whether a model, by what it takes, finds what a text names."""
    return {"input_ids", "pixel_values", "attention_mask", "token_type_ids"} <= takes.keys()


def phrases_of(config: Config) -> tuple[str, ...]:
    """What LRPC.TEXT names, in lower case; ConfigError where it names nothing."""
    found = tuple(part.strip().lower() for part in config.LRPC.TEXT.split(".") if part.strip())
    if not found or len(set(found)) < len(found):
        raise ConfigError(
            f"{config.where('LRPC.TEXT')}: LRPC.TEXT: the model finds what a text names; give"
            f" classes, each once, such as 'cat. traffic light.', got {config.LRPC.TEXT!r:.80}"
        )
    return found


def read_text(
    config: Config, settings: Any, takes: Mapping[str, Any], load: Callable[[], Any]
) -> Text:
    """The text for a model with these settings, which `takes` these arguments; `load` gives the
    tokenizer of its folder. Raises ConfigError."""
    if "task_inputs" in takes:
        return _task(config, settings, load())
    if takes_phrases(takes):
        return _phrases(config, settings, load())
    if config.LRPC.TEXT:
        raise ConfigError(
            f"{config.where('LRPC.TEXT')}: LRPC.TEXT: the model takes images alone; remove it"
        )
    return Text()


def _task(config: Config, settings: Any, tokenizer: Any) -> Text:
    """The task of a OneFormer."""
    task = config.LRPC.TEXT or TASKS[0]
    if task not in TASKS:
        raise ConfigError(
            f"{config.where('LRPC.TEXT')}: LRPC.TEXT: expected one of {', '.join(TASKS)}, got"
            f" {task!r:.80}"
        )
    length = settings.task_seq_len
    made = tokenizer(
        f"the task is {task}", padding="max_length", max_length=length, truncation=True
    )
    tokens = torch.tensor([made["input_ids"]]) * torch.tensor([made["attention_mask"]])
    return Text({"task_inputs": tokens})


def _phrases(config: Config, settings: Any, tokenizer: Any) -> Text:
    """The phrases of a model that finds what a text names, with a full stop after each."""
    phrases = phrases_of(config)
    made = tokenizer("".join(f"{phrase}. " for phrase in phrases).strip())
    tokens = [int(token) for token in made["input_ids"]]
    stop, count = tokenizer.convert_tokens_to_ids("."), 0
    spans = torch.zeros(len(phrases), len(tokens), dtype=torch.bool)
    for place, token in enumerate(tokens):
        if token == stop:
            count += 1
        elif token not in tokenizer.all_special_ids and count < len(phrases):
            spans[count, place] = True
    if count != len(phrases) or not bool(spans.any(1).all()):
        raise ConfigError(
            f"{config.where('LRPC.TEXT')}: LRPC.TEXT: the tokenizer does not tell"
            f" {', '.join(phrases)} apart; name classes in words that it knows"
        )
    if len(tokens) > settings.max_text_len:
        raise ConfigError(
            f"{config.where('LRPC.TEXT')}: LRPC.TEXT: is of {len(tokens)} tokens, the model takes"
            f" {settings.max_text_len}; name fewer classes"
        )
    ids = torch.tensor([tokens])
    inputs = {"attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    return Text({"input_ids": ids, **inputs}, phrases, spans)
