"""Log-in of customers and operators, and its limits."""
