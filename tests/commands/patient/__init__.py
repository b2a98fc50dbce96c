"""Hold a saga whose first step waits until a test lets it go, so that a command can be stopped in the middle of it."""
