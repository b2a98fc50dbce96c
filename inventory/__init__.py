"""Stock on hand, and the reservations that orders hold on it."""
