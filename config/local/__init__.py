"""Run the project on this machine alone: servers from wheels, the demo, a private database for tests and checks."""
