"""Dashboards, alerts and runbooks, generated from the tables of `streamwatch.anomalies` and `streamwatch.telemetry`."""
