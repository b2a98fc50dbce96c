"""Local runs of the project on one machine: servers from wheels, a private database for tests and checks."""
