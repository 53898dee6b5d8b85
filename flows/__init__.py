"""Prefect flows: order, retries, schedules and artifacts; no decisions."""
