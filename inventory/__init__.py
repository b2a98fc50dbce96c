"""Inventory participant: stock, and its reservations for orders."""
