"""The version of dynjax."""

__version__ = "0.1.0"
