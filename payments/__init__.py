"""Money held, captured, given back, through one payment gateway."""
