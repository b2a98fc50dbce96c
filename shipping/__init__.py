"""Shipping participant: books and cancels shipments with one carrier."""
