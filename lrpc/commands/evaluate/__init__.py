"""How faithful relevance maps are: deletion and insertion, localisation, randomisation.

`find` matches annotated objects with detections, `measure_all` explains and measures them with any
list of methods (`Method`: a name and `maps`), `Results` and `write_results` hold what comes out.
"""

from lrpc.commands.evaluate.measuring import measure_all
from lrpc.commands.evaluate.methods import IntegratedGradients, Method, Random, Relevance
from lrpc.commands.evaluate.model import Model, Picture, Subject
from lrpc.commands.evaluate.objects import find
from lrpc.commands.evaluate.results import Results, write_results
from lrpc.commands.evaluate.rollout import Rollout
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.settings import Protocol, Settings

__all__ = [
    "IntegratedGradients",
    "Method",
    "Model",
    "Picture",
    "Protocol",
    "Random",
    "Relevance",
    "Results",
    "Rollout",
    "Settings",
    "Subject",
    "find",
    "measure_all",
    "read_scenes",
    "write_results",
]
