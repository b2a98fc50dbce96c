"""The shop's orders: the catalogue, the checkout, and the saga that decides how an order ends."""
