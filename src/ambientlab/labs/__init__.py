"""Guided labs: what a learner types, and checks that real traffic behaves as the text says.

A lab knows nothing of the mesh it is played on: it needs kubectl (see `environment`) and nothing else, so the same
lab runs on any cluster. `runner` plays a lab by itself, `guide` plays it with a learner.
"""

from ambientlab.labs.environment import CommandError, Environment
from ambientlab.labs.loading import LabError, load, names
from ambientlab.labs.model import Asset, Lab

__all__ = ["Asset", "CommandError", "Environment", "Lab", "LabError", "load", "names"]
