"""Hold a saga whose parallel steps wait for one another, so that only workers side by side can finish it."""
