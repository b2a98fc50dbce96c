"""Tests on real PostgreSQL, real Valkey and real processes."""
