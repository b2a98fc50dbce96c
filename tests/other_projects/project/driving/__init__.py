"""What is driven in the foreign project, and how what came of it is told."""
