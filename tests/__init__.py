"""Prove what the project promises, on real PostgreSQL, real Valkey and real processes."""
