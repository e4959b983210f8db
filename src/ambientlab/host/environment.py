"""The environment a person's commands run in: which cluster, which programs, which directory."""

from __future__ import annotations

import os

from ambientlab import labs
from ambientlab.host.paths import MeshPaths

DEFAULT_LAB = "traffic-management"


def tool_environment(paths: MeshPaths) -> dict[str, str]:
    """The caller's environment with this mesh's programs first on PATH and its kubeconfig the only one."""
    return {
        **os.environ,
        "PATH": f"{paths.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "KUBECONFIG": str(paths.kubeconfig),
        "AMBIENTLAB_NAME": paths.name,
    }


def lab_environment(paths: MeshPaths) -> labs.Environment:
    """Where a lab is played on this machine's own mesh."""
    return labs.Environment(tool_environment(paths), paths.scratch)


def lab_files(paths: MeshPaths, lab: str = DEFAULT_LAB) -> None:
    """Put a lab's files into the learner's directory; a file that is there already is the learner's and stays."""
    for asset in labs.load(lab).assets:
        target = paths.scratch / asset.name
        if not target.exists():
            target.write_text(asset.content, encoding="utf-8")
