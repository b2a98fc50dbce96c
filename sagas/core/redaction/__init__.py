"""Secrets: how they are recognised and masked before anything is stored."""
