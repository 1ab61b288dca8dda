"""Dashboards, alerts and runbooks, generated from the tables of `streamwatch.core.kinds` and `export.telemetry`."""
