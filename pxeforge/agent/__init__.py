"""The agent on each host: claims tasks, does their steps, reports. Standard library only, Python 3.9 or newer."""

AGENT_VERSION = "0.1.0"
