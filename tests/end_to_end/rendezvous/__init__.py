"""App with a saga whose parallel steps wait for each other, so that only concurrent workers can finish it."""
