"""Manage a machine-learning system from its first deployment through every later update."""

__version__ = "0.1.0"
