"""Features that are run in the other project, and how their results are reported."""
