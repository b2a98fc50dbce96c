"""The version of the package, where both the package itself and its modules can import it from."""

__version__ = "0.1.0"
