"""What ``lorary eval`` and ``lorary report`` share: tasks, experts and routes to compare."""
