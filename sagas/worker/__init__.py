"""Celery integration: code that runs inside a worker beside the tasks."""
