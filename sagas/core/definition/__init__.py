"""Declaration of sagas: classes, steps, inputs, and their registry."""
