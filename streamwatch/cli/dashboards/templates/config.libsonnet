// What differs from one installation to another: override it in your own jsonnet.
{
  _config+:: {
    // Labels that distinguish services, as in ['job', 'namespace', 'cluster', 'team'].
    labels: ["job"],
    // Before and behind the name of a runbook, as in 'https://HOST/OWNER/NAME/blob/main/docs/runbooks' and '.md'.
    runbooks: "",
    page: "",
    // The address of Grafana. A link whose address is empty is left out.
    grafana: "",
    // The uid of the Prometheus that dashboards choose at first.
    datasource: "",
    // The share of streams that must end usable.
    objective: 0.99,
  },
}
