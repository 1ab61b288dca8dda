"""Grafana dashboards as code: `python -m dashboards` writes `json/`, from the tables of `streamwatch` alone.

`names` holds what metrics and labels are called in Prometheus, `promql` the arithmetic, `panels` what
panels have in common; `overview`, `fix_rates`, `anatomy` and `agent` are one dashboard each.
"""
