"""Redaction: secrets are recognised and masked before anything is stored."""
