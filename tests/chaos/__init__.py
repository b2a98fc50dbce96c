"""Faults injected into the running project: killed and frozen processes, restarts, cut connections, wrong clocks."""
