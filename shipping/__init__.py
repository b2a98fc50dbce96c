"""Shipments booked with one carrier."""
