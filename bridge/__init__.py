"""Mosaico bag bridge: ROS 2 bags onto the Mosaico data platform, and a client for the platform."""

from bridge.version import __version__

__all__ = ["__version__"]
