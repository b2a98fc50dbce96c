"""Sell crossings, by a saga."""
