"""Celery integration: what runs inside a worker beside the tasks."""
