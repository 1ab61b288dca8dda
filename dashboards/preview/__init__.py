"""Pictures of the dashboards without a Grafana: `python -m dashboards.preview`.

`live` runs a server that breaks some of its streams, applications that read them, and a Prometheus that
measures them; `main.jsx` draws a dashboard's JSON with Grafana's own components, and `shoot.mjs` takes the
picture in a headless Chromium. The same run fails if a panel has no data. What it does not show is Grafana
itself: importing, provisioning, and the annotations that would be drawn over the graphs.
"""
