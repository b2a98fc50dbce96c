"""Redaction: secrets are recognized and masked before anything is stored."""
