"""Payments participant: authorises, captures, voids and refunds money through one payment gateway."""
