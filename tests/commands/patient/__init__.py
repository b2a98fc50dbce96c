"""App with a saga whose first step waits for the test, so that a command can be stopped meanwhile."""
