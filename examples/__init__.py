"""Example projects: the demo of the shop, and a second app."""
