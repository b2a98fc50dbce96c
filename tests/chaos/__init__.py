"""Hurt the running project: kill and freeze processes, restart servers, cut connections, set clocks wrong."""
