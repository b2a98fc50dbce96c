"""Declaration of sagas: classes, steps, inputs, and the registry that knows them."""
