"""The page of `lrpc demo`, made of Gradio's components.

Nothing on it comes from another host: analytics are off before Gradio is imported, the fonts are
those of the system, and a policy in each answer forbids the browser to ask any other host.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

from PIL import Image

from lrpc.commands.demo import views
from lrpc.commands.demo.choices import Choice
from lrpc.commands.demo.explorer import Explorer, Found
from lrpc.config.target_kinds import CONTRASTS
from lrpc.errors import LrpcError, ProgramError

ALONE = "nothing"
_LAYOUT: dict[str, Any] = {"fill_width": True, "delete_cache": (600, 3600)}
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; form-action 'self'"
)
_FONT, _MONO = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
CSS = """
#ledgers table { border: 0 !important; border-collapse: collapse; width: 100%;
  table-layout: fixed; font-size: 0.85rem; }
#ledgers th:first-child { width: 6rem; }
#ledgers caption { text-align: left; opacity: 0.7; padding-bottom: 0.4em; }
#ledgers th, #ledgers td { border: 0; text-align: left; padding: 0.15em 0.8em 0.15em 0;
  font-weight: 500; white-space: nowrap; }
#ledgers tr { border: 0 !important; border-bottom: 1px solid #8883 !important; }
#ledgers .number { display: inline-block; width: 5.5em; text-align: right;
  font-variant-numeric: tabular-nums; padding-right: 0.8em; }
#ledgers .bar { display: inline-block; position: relative; height: 0.8em;
  width: calc(100% - 6.5em); background: linear-gradient(90deg, transparent calc(50% - 0.5px),
  #9aa0a8 calc(50% - 0.5px), #9aa0a8 calc(50% + 0.5px), transparent calc(50% + 0.5px)); }
#ledgers .bar i { position: absolute; top: 0; bottom: 0; }
#ledgers .for { background: #be222c; }
#ledgers .against { background: #1c54ac; }
#photo img { max-height: 12rem; }
#detections img { cursor: pointer; }
"""


def gradio() -> Any:
    """Gradio, which is asked to report nothing. Raises ProgramError where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        return import_module("gradio")
    except ImportError as error:
        raise ProgramError("the demo needs gradio: pip install 'lrpc[demo]'") from error


class Page:
    """What happens on the page; each method takes and gives the values of components."""

    def __init__(self, gr: Any, explorer: Explorer) -> None:
        self.gr, self.explorer = gr, explorer

    def detect(self, photo: Image.Image | None) -> tuple[Any, ...]:
        """A new image: (found, picture, list, targets, classes, note)."""
        update = self.gr.update
        if photo is None:
            empty = update(choices=[], value=None)
            return None, None, empty, empty, empty, ""
        found = self.explorer.detect(photo)
        names = self.explorer.names(found)
        first = names[0] if names else None
        targets = [choice.name for choice in self.explorer.choices(found)]
        classes = self.explorer.classes(found)
        label = classes[found.scene.found[0].label] if names else None
        return (
            found,
            views.detections(self.explorer, found, 0 if names else None),
            update(choices=names, value=first),
            update(choices=targets, value=targets[0]),
            update(choices=classes, value=label),
            found.note,
        )

    def click(self, found: Found | None, chosen: str | None, x: float, y: float) -> str | None:
        """The name of the detection at a pixel of the picture, or that which was chosen before."""
        if found is None:
            return None
        factor = views.scale(found)
        number = found.at((x + 0.5) / factor, (y + 0.5) / factor)
        return chosen if number is None else self.explorer.names(found)[number]

    def choose(self, found: Found | None, chosen: str | None) -> tuple[Any, Any]:
        """A detection: its own class, and the picture with it marked."""
        if found is None or chosen is None:
            return self.gr.update(), self.gr.update()
        number = self.number(found, chosen)
        label = self.explorer.classes(found)[found.scene.found[number].label]
        return self.gr.update(value=label), views.detections(self.explorer, found, number)

    def explain(
        self,
        found: Found | None,
        chosen: str | None,
        target: str | None,
        label: str | None,
        against: str,
        view: str,
    ) -> tuple[Any, str, str]:
        """A target of the detection: (pictures, ledgers, title)."""
        if found is None or chosen is None or target is None or label is None:
            return [], "", ""
        explorer = self.explorer
        choice = self.choice(found, target)
        number = explorer.classes(found).index(label)
        contrast = "" if against == ALONE else against
        answer = explorer.explain(found, self.number(found, chosen), choice, number, contrast)
        value = answer.seed.value
        title = answer.seed.words + ("" if value is None else f" = {value:.4g}")
        pictures = views.pictures(explorer, found, answer, view)
        return pictures, views.ledgers(answer), title

    def number(self, found: Found, chosen: str) -> int:
        """The number of a detection by its name."""
        return self.explorer.names(found).index(chosen)

    def choice(self, found: Found, target: str) -> Choice:
        """A choice by its name."""
        (one,) = (one for one in self.explorer.choices(found) if one.name == target)
        return one

    def shown(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """A step whose LrpcError is shown on the page."""

        @wraps(step)
        def run(*values: Any) -> Any:
            try:
                return step(*values)
            except LrpcError as error:
                raise self.gr.Error(str(error), print_exception=False) from error

        return run


def blocks(gr: Any, explorer: Explorer, title: str) -> Any:
    """The page as Gradio's blocks."""
    page = Page(gr, explorer)
    made = gr.Blocks(
        title=title, analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)
    )
    with made:
        gr.Markdown(f"### {title}")
        found = gr.State(None, time_to_live=3600)
        with gr.Row():
            with gr.Column(scale=2):
                photo = gr.Image(
                    type="pil",
                    sources=["upload", "clipboard"],
                    label="image",
                    buttons=[],
                    height=260,
                )
                note = gr.Markdown()
                picture = gr.Image(
                    label="detections: click one",
                    elem_id="detections",
                    interactive=False,
                    buttons=[],
                    format="png",
                )
                chosen = gr.Radio([], label="detection", elem_id="list")
            with gr.Column(scale=3):
                with gr.Row():
                    target = gr.Dropdown([], label="target", elem_id="target")
                    label = gr.Dropdown([], label="class", elem_id="class")
                    against = gr.Dropdown(
                        [ALONE, *CONTRASTS], value=ALONE, label="contrasted with", elem_id="against"
                    )
                    view = gr.Radio(list(views.VIEWS), value=views.VIEWS[0], label="view")
                said = gr.Markdown(elem_id="said")
                columns = min(len(explorer.composites), 3)
                maps = gr.Gallery(
                    label="relevance: red for, blue against; each has its own scale",
                    columns=columns,
                    object_fit="contain",
                    height="auto",
                    format="png",
                    buttons=["download", "fullscreen"],
                    elem_id="maps",
                )
                ledgers = gr.HTML(elem_id="ledgers")
        asked, told = [found, chosen, target, label, against, view], [maps, ledgers, said]
        _events(page, photo, picture, chosen, [target, label, against, view], note, asked, told)
    return made


def _events(
    page: Page,
    photo: Any,
    picture: Any,
    chosen: Any,
    options: list[Any],
    note: Any,
    asked: list[Any],
    told: list[Any],
) -> None:
    """What follows from what the user does."""
    found, (target, label, *_), gr = asked[0], options, page.gr
    hidden: dict[str, Any] = {"api_visibility": "private"}
    explain = page.shown(page.explain)

    def click(found: Found | None, chosen: str | None, event: Any) -> str | None:
        x, y = event.index
        return page.click(found, chosen, x, y)

    click.__annotations__["event"] = gr.SelectData  # by which Gradio knows what to pass
    new = [found, picture, chosen, target, label, note]
    photo.change(page.shown(page.detect), photo, new, **hidden).then(explain, asked, told, **hidden)
    chosen_now = (page.shown(page.choose), [found, chosen], [label, picture])
    chosen.input(*chosen_now, **hidden).then(explain, asked, told, **hidden)
    clicked = picture.select(click, [found, chosen], chosen, **hidden)
    clicked.then(*chosen_now, **hidden).then(explain, asked, told, **hidden)
    for option in options:
        option.input(explain, asked, told, **hidden)


def theme(gr: Any) -> Any:
    """Gradio's default look with fonts of the system: its own would come from another host."""
    return gr.themes.Default(font=_FONT, font_mono=_MONO)
