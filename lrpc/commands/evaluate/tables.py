"""What `lrpc evaluate` prints: faithfulness, localisation, and the randomisation check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from lrpc.commands.evaluate.intervals import Mean
from lrpc.commands.evaluate.results import METRICS, Results

Summary = Mapping[str, Mapping[str, Mean]]
_FAITHFUL = {"deletion": "deletion", "insertion": "insertion", "abpc": "ABPC", "left": "left"}
_COSTS = ("passes", "s for maps")
_LOCAL = {
    "positive_in_mask": "+ in mask",
    "absolute_in_mask": "|·| in mask",
    "positive_in_box": "+ in box",
    "absolute_in_box": "|·| in box",
    "rank": "rank",
    "pointing": "pointing",
}
_ALIKE = {
    "class_correlation": "classes, |·|",
    "class_likeness": "classes",
    "rank_one": "one map's share",
    "query_correlation": "queries",
    "pixel_correlation": "mask pixels",
    "swap": "swap",
}
_DIFFERENT = {
    "abpc": "ABPC",
    "positive_in_box": "+ in box",
    "rank": "rank",
    "class_correlation": "classes, |·|",
}
_ARROWS = {True: " ↑", False: " ↓", None: ""}


def tables(results: Results) -> list[Table]:
    """The tables, in the order of printing, each with its scenes; the best mean of a column is
    bold."""
    found, scenes = _tables(results), results.about.get("scenes")
    for table in found if scenes else []:
        table.title = f"{escape(Path(str(scenes)).name)}: {table.title}"
    return found


def _tables(results: Results) -> list[Table]:
    summary = results.summary()
    several = len(results.protocols()) > 1
    found = [_by_protocol(results), _places(results)] if several else [_faithful(results, summary)]
    found.append(_table("localisation: shares of relevance on the object", _LOCAL, summary))
    for method, means in summary.items():
        found[-1].add_row(escape(method), *_cells(_LOCAL, means, summary))
    area = next(iter(summary.values()))
    found[-1].caption = (
        "± is half of the 95 % interval, by bootstrap over images; "
        f"the mask is {area['mask_area'].mean:.1%} of the image and the box "
        f"{area['box_area'].mean:.1%}, on average"
    )
    if any("class_correlation" in means for means in summary.values()):
        found.append(_table("sensitivity to what was asked", _ALIKE, summary))
        for method, means in summary.items():
            if "class_correlation" in means:
                found[-1].add_row(escape(method), *_cells(_ALIKE, means, summary))
        found[-1].caption = (
            "correlation with maps of the query's other classes, and |·| of other queries and "
            "among pixels of its mask; swap: deletion by the next class's map less that by its own"
        )
    if len(summary) > 1:
        found.append(_differences(results))
    checks = results.checks()
    return [*found, _checks(checks)] if checks else found


def _differences(results: Results) -> Table:
    """Each method's figures less those of the first, object by object."""
    reference = results.methods()[0]
    found = results.differences(reference)
    table = _table(f"less {escape(reference)}, paired by object", _DIFFERENT, found)
    for method, means in found.items():
        cells = []
        for metric in _DIFFERENT:
            mean = means.get(metric)
            text = "–" if mean is None else _signed(mean)
            cells.append(f"[bold]{text}[/]" if mean is not None and mean.apart else text)
        table.add_row(escape(method), *cells)
    table.caption = "bold where the 95 % interval leaves 0 out"
    return table


def _signed(mean: Mean) -> str:
    return f"{'' if mean.mean < 0 else '+'}{mean}"


def _faithful(results: Results, summary: Summary) -> Table:
    """Areas under the one protocol."""
    table = _table("faithfulness: areas under curves of score", _FAITHFUL, summary)
    for head in ("n", *_COSTS):
        table.add_column(head, justify="right")
    for method, means in summary.items():
        cells = _cells(_FAITHFUL, means, summary)
        table.add_row(escape(method), *cells, str(means["abpc"].n), *_costs(results, method))
    table.caption = _left(results)
    return table


def _by_protocol(results: Results) -> Table:
    """Areas under each protocol, and the methods' places by ABPC."""
    table = _table("faithfulness: areas under curves of score", _FAITHFUL, results.summary())
    table.add_column("place", justify="right")
    for protocol in results.protocols():
        summary, places = results.summary(protocol), results.places(protocol)
        table.add_row(f"[italic]{protocol.name}[/]")
        for method, means in summary.items():
            cells = _cells(_FAITHFUL, means, summary)
            table.add_row(f"  {escape(method)}", *cells, f"{places[method]:g}")
        table.add_section()
    table.caption = _left(results)
    return table


def _places(results: Results) -> Table:
    """Each method over all protocols, best first."""
    summary, every = results.summary(), [results.places(p) for p in results.protocols()]
    table = Table(
        title=f"over {len(every)} protocols: places by ABPC, 1 is the best", title_justify="left"
    )
    table.add_column("method", no_wrap=True)
    for head in ("mean place ↓", "best", "worst", "mean ABPC ↑", "n", *_COSTS):
        table.add_column(head, justify="right")
    for method, place in sorted(results.mean_places().items(), key=lambda item: item[1]):
        own, area = [places[method] for places in every], summary[method]["abpc"]
        cells = (f"{place:.2f}", f"{min(own):g}", f"{max(own):g}", str(area), str(area.n))
        table.add_row(escape(method), *cells, *_costs(results, method))
    return table


def _costs(results: Results, method: str) -> tuple[str, str]:
    """The model's forward passes for each object, and the seconds for all maps."""
    passes, seconds = results.passes.get(method), results.seconds.get(method)
    return (
        "" if passes is None else f"{passes:.1f}".removesuffix(".0"),
        "" if seconds is None else f"{seconds:.1f}",
    )


def _left(results: Results) -> str:
    removed = results.about.get("settings", {}).get("removed")
    share = "" if removed is None else f" when {removed:.2%} of the image is removed"
    return f"left: of the score,{share}; passes: forward passes for each object".replace(",;", ";")


def _table(title: str, columns: Mapping[str, str], summary: Summary) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("method", no_wrap=True)
    for metric, head in columns.items():
        table.add_column(head + _ARROWS[METRICS[metric]], justify="right")
    return table


def _cells(
    columns: Mapping[str, str],
    means: Mapping[str, Mean],
    summary: Summary,
) -> list[str]:
    cells = []
    for metric in columns:
        others = [found[metric].mean for found in summary.values() if metric in found]
        best = (max if METRICS[metric] else min)(others, default=None)
        mean = means.get(metric)
        text = "–" if mean is None else str(mean)
        cells.append(f"[bold]{text}[/]" if mean is not None and mean.mean == best else text)
    return cells


def _checks(checks: Mapping[str, Mapping[str, Mapping[str, Mean]]]) -> Table:
    """Similarity with the trained model's maps, cascading from the outputs down."""
    table = Table(
        title="randomisation: likeness to the trained model's maps, lower is better",
        title_justify="left",
    )
    table.add_column("method", no_wrap=True)
    table.add_column("random down to", overflow="fold")
    for head in ("Spearman", "Spearman of |·|", "SSIM"):
        table.add_column(head, justify="right", no_wrap=True)
    for method, parts in checks.items():
        for part, means in parts.items():
            names = ("spearman", "spearman_absolute", "ssim")
            cells = [str(means[name]) if name in means else "–" for name in names]
            table.add_row(escape(method), escape(part), *cells)
        table.add_section()
    return table
