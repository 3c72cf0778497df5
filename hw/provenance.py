"""What a build depends on, as one digest: equal digest, equal bytes."""

import argparse
import hashlib
import json
from importlib.metadata import version

from hw.plan import Plan
from hw.toolchain import tool_version

__all__ = ["build_digest"]

_TOOLS = {
    "xc7": ("yosys",),
    "ecp5": ("yosys", "nextpnr-ecp5"),
    "ice40": ("yosys", "nextpnr-ice40"),
}


def build_digest(
    plan: Plan, model_digest: str, args: argparse.Namespace
) -> tuple[dict[str, str], str]:
    """The versions of what makes a build, and the hex digest of all it depends on.

    Parameters
    ----------
    plan : Plan
    model_digest : str
        Of the network, from its model file.
    args : argparse.Namespace
        With `flow` and `results`.
    """
    versions = {name: version(name) for name in ("popstream", "amaranth", "amaranth-boards")}
    versions |= {tool: tool_version(tool) for tool in _TOOLS[plan.board.family]}
    inputs = [
        versions,
        model_digest,
        json.loads(plan.to_json()),
        plan.board.name,
        plan.board.shell.name,
        plan.board.baud,
        plan.clock_hz,
        args.flow,
        args.results,
    ]
    return versions, hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
