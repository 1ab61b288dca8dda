// Asks Prometheus what a panel asks, and gives the answer the form that Grafana's data source gives it.
import { FieldType, toDataFrame } from '@grafana/data';

const asked = new URLSearchParams(location.search);

export const prometheus = asked.get('prometheus');
export const end = Number(asked.get('end'));
export const seconds = Number(asked.get('seconds'));

// Seconds of one step of a graph.
const step = Number(asked.get('step'));

const values = {
  __interval: `${step}s`,
  __interval_ms: `${step * 1000}`,
  __range: `${seconds}s`,
  __range_s: `${seconds}`,
  before: asked.get('before'),
  window: asked.get('window'),
  job: '.+',
  instance: '.+',
};

// What Grafana fills in when `All` is chosen in every variable.
export function filledIn(text) {
  return text.replace(/\$\{(\w+)\}|\$([a-z_]\w*)/g, (whole, braced, bare) => {
    const name = braced ?? bare;
    return values[name] ?? (whole.startsWith('${__') || name.startsWith('__') ? whole : '.*');
  });
}

async function ask(path, parameters) {
  const answer = await fetch(`${prometheus}/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) });
  const body = await answer.json();
  if (body.status !== 'success') {
    throw new Error(body.error);
  }
  return body.data.result;
}

function number(text) {
  const value = Number(text);
  return Number.isNaN(value) ? null : value;
}

function named(legend, labels) {
  if (legend && legend !== '__auto') {
    return legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
  }
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
  return pairs.length ? `{${pairs.join(', ')}}` : 'Value';
}

function series(target, labels, points) {
  const value = {
    name: 'Value',
    type: FieldType.number,
    labels,
    config: { displayNameFromDS: named(target.legendFormat, labels) },
    values: points.map((point) => number(point[1])),
  };
  const time = { name: 'Time', type: FieldType.time, values: points.map((point) => point[0] * 1000) };
  return toDataFrame({ refId: target.refId, fields: [time, value] });
}

function table(target, result, only) {
  const labels = [...new Set(result.flatMap((one) => Object.keys(one.metric)))].sort();
  const columns = labels.map((label) => ({
    name: label,
    type: FieldType.string,
    values: result.map((one) => one.metric[label] ?? ''),
  }));
  const name = only ? 'Value' : `Value #${target.refId}`;
  const time = { name: 'Time', type: FieldType.time, values: result.map((one) => one.value[0] * 1000) };
  const value = { name, type: FieldType.number, values: result.map((one) => number(one.value[1])) };
  return toDataFrame({ refId: target.refId, fields: [time, ...columns, value] });
}

// The frames of one query; nothing, where there are none.
export async function run(target, panel) {
  const query = filledIn(target.expr);
  if (!target.instant) {
    const start = end - seconds;
    const result = await ask('query_range', { query, start, end, step });
    return result.map((one) => series(target, one.metric, one.values));
  }
  const result = await ask('query', { query, time: end });
  if (target.format === 'table') {
    return result.length ? [table(target, result, panel.targets.length === 1)] : [];
  }
  return result.map((one) => series(target, one.metric, [one.value]));
}
