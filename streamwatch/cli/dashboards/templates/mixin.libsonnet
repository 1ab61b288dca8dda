// Dashboards, records and alerts of Streamwatch, as monitoring-mixins have them: `grafanaDashboards`,
// `prometheusRules` and `prometheusAlerts`, made out of the templates beside this file.
local dead(text) = std.length(std.findSubstr('<runbooks>', text)) > 0 || std.length(std.findSubstr('<grafana>', text)) > 0;

local links(value) =
  if std.isArray(value) then
    [links(one) for one in value if !(std.isObject(one) && std.objectHas(one, 'url') && dead('' + one.url))]
  else if std.isObject(value) then
    { [name]: links(value[name]) for name in std.objectFields(value) }
  else value;

(import 'config.libsonnet') + {
  local config = $._config,
  local joined(form, between) = std.join(between, [std.strReplace(form, 'job', label) for label in config.labels]),

  local replacements(quote) =
    local filter(end) = 'job=~' + quote + '$job' + end + quote;
    [
      ['by (job', 'by (' + std.join(', ', config.labels)],
      ['on (job', 'on (' + std.join(', ', config.labels)],
      [filter(''), joined(filter(''), ',')],
      [filter('|'), joined(filter('|'), ',')],
      ['{{ $labels.job }}', joined('{{ $labels.job }}', ' ')],
      ['{{job}}', joined('{{job}}', ' ')],
      ['var-job={{ urlquery $labels.job }}', joined('var-job={{ urlquery $labels.job }}', '&')],
      ['(1 - 0.99)', '(1 - %g)' % config.objective],
      ['objective is 99%', 'objective is %g%%' % (config.objective * 100)],
    ]
    + (if config.runbooks == '' then [] else [['<runbooks>', config.runbooks], ['<page>', config.page]])
    + (if config.grafana == '' then [] else [['<grafana>', config.grafana]]),

  local filled(template, quote) =
    std.foldl(function(text, pair) std.strReplace(text, pair[0], pair[1]), replacements(quote), template),

  local variables(variable) =
    if variable.name != 'job' then [variable]
    else [
      std.parseJson(std.strReplace(std.manifestJson(variable), 'job', label))
      + { label: if label == 'job' then 'Job' else label }
      for label in config.labels
    ],

  local board(template) =
    local model = std.parseJson(filled(template, '\\"'));
    local chosen(variable) =
      if config.datasource != '' && variable.type == 'datasource'
      then variable { current: { text: config.datasource, value: config.datasource } }
      else variable;
    links(model {
      templating: model.templating { list: std.flatMap(function(one) variables(chosen(one)), model.templating.list) },
    }),

  local live(annotations) =
    { [name]: annotations[name] for name in std.objectFields(annotations) if !dead(annotations[name]) },
  local groups(template) = [
    group {
      rules: [
        if std.objectHas(rule, 'annotations') then rule { annotations: live(rule.annotations) } else rule
        for rule in group.rules
      ],
    }
    for group in std.parseYaml(filled(template, '"')).groups
  ],

  grafanaDashboards+:: {
    // <boards>
  },
  prometheusRules+:: {
    groups+: groups(importstr 'streamwatch-records.yml') + groups(importstr 'streamwatch-records-of-days.yml'),
  },
  prometheusAlerts+:: {
    groups+: groups(importstr 'streamwatch-alerts.yml'),
  },
}
