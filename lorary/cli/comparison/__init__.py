"""The common part of ``lorary eval`` and ``lorary report``: tasks, experts and routes to compare."""
