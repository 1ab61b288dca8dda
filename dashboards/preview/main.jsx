// Draws a dashboard's JSON with Grafana's own components. The title of the page tells when it is done, and which
// queries failed or had no data.
import '@grafana/react-data-grid/lib/styles.css';

import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  createTheme,
  dateTime,
  EventBusSrv,
  FieldConfigOptionsRegistry,
  getFieldDisplayValues,
  LoadingState,
  renderTextPanelMarkdown,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  ThemeContext,
  transformDataFrame,
} from '@grafana/data';
import {
  BigValue,
  GlobalStyles,
  Icon,
  PanelChrome,
  PanelContextProvider,
  TimeSeries,
} from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { MemoryRouter } from 'react-router-dom';
import { lastValueFrom } from 'rxjs';

import { end, filledIn, run, seconds } from './query.js';

const asked = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: asked.get('theme') ?? 'dark' } });
const timeRange = { from: dateTime((end - seconds) * 1000), to: dateTime(end * 1000) };
timeRange.raw = { from: timeRange.from, to: timeRange.to };

// Grafana registers what each panel plugin can be told; here every option is taken as it is.
function option(id, path, isCustom = false) {
  return { id, path, isCustom, name: id, process: (value) => value, shouldApply: () => true, getItemsCount: () => 1 };
}
const standard = 'unit min max decimals displayName noValue mappings thresholds color links description'.split(' ');
const custom =
  'drawStyle lineWidth fillOpacity gradientMode showPoints pointSize stacking lineInterpolation lineStyle axisPlacement axisLabel axisSoftMin axisSoftMax axisBorderShow spanNulls thresholdsStyle scaleDistribution hideFrom fillBelowTo cellOptions width minWidth align'.split(
    ' '
  );
standardFieldConfigEditorRegistry.setInit(() => standard.map((id) => option(id, id)));
// Some transformers are there under two names.
const transformers = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
standardTransformersRegistry.setInit(() =>
  [...transformers.values()].map((one) => ({ id: one.id, name: one.name, transformation: async () => one }))
);
const registry = new FieldConfigOptionsRegistry(() => [
  ...standard.map((id) => option(id, id)),
  ...custom.map((id) => option(`custom.${id}`, id, true)),
]);

const DEFAULTS = {
  timeseries: { drawStyle: 'line', lineWidth: 1, fillOpacity: 0, showPoints: 'auto', pointSize: 5, spanNulls: false },
};

async function transformed(panel, frames) {
  const steps = (panel.transformations ?? []).map((one) => ({ ...one, transformer: transformers.get(one.id) }));
  return steps.length ? lastValueFrom(transformDataFrame(steps, frames)) : frames;
}

function dressed(panel, frames) {
  const fieldConfig = structuredClone(panel.fieldConfig ?? { defaults: {}, overrides: [] });
  fieldConfig.defaults.custom = { ...DEFAULTS[panel.type], ...fieldConfig.defaults.custom };
  fieldConfig.defaults.color ??= { mode: panel.type === 'timeseries' ? 'palette-classic' : 'thresholds' };
  fieldConfig.defaults.thresholds ??= { mode: 'absolute', steps: [{ value: -Infinity, color: 'text' }] };
  const result = applyFieldOverrides({
    data: frames,
    fieldConfig,
    fieldConfigRegistry: registry,
    replaceVariables: filledIn,
    theme,
    timeZone: 'utc',
  });
  cacheFieldDisplayNames(result);
  return result;
}

function displayed(panel, frames) {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: { calcs: ['lastNotNull'], ...panel.options.reduceOptions },
    replaceVariables: filledIn,
    theme,
    data: frames,
    timeZone: 'utc',
    sparkline: panel.options.graphMode !== 'none',
  });
}

function Stat({ panel, frames, width, height }) {
  const [value] = displayed(panel, frames);
  const { colorMode, graphMode, justifyMode, textMode, text } = panel.options;
  const look = { colorMode, graphMode, justifyMode, textMode, text };
  return <BigValue {...{ width, height, theme, ...look }} value={value.display} sparkline={value.sparkline} />;
}

function Words({ panel }) {
  const html = renderTextPanelMarkdown(panel.options.content);
  return <div className="markdown-html" style={{ padding: 4 }} dangerouslySetInnerHTML={{ __html: html }} />;
}

function Body({ panel, frames, width, height }) {
  const size = { width, height };
  if (panel.type === 'text') {
    return <Words panel={panel} />;
  }
  if (!frames.some((frame) => frame.length)) {
    const style = { display: 'grid', placeItems: 'center', height, color: theme.colors.text.secondary };
    return <div style={style}>{panel.fieldConfig.defaults.noValue}</div>;
  }
  if (panel.type === 'timeseries') {
    const { legend } = panel.options;
    return <TimeSeries {...size} frames={frames} timeRange={timeRange} timeZone="utc" legend={legend} options={{}} />;
  }
  if (panel.type === 'table') {
    const { sortBy, cellHeight } = panel.options;
    return (
      <TableNG
        {...size}
        {...{ sortBy, cellHeight, fieldConfig: panel.fieldConfig }}
        data={frames[0]}
        enableVirtualization={false}
        structureRev={1}
      />
    );
  }
  return <Stat {...{ panel, frames, width, height }} />;
}

// Grafana's own grid: 24 columns, a height of 30 px and gaps of 8 px.
const CELL = 30;
const GAP = 8;

function Variables({ board }) {
  const box = { border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, padding: '4px 8px' };
  return (
    <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8, padding: '0 16px 8px', fontSize: 12 }}>
      {board.templating.list.map((variable) => (
        <span key={variable.name} style={box}>
          <span style={{ color: theme.colors.text.secondary, paddingRight: 8 }}>{variable.label}</span>
          {variable.type === 'query' ? 'All' : variable.type === 'custom' ? asked.get(variable.name) : 'Prometheus'}
        </span>
      ))}
    </div>
  );
}

function Board({ board, data, width }) {
  const column = (width - 2 * GAP) / 24;
  const rows = Math.max(...board.panels.map((panel) => (panel.gridPos.y ?? 0) + panel.gridPos.h));
  const place = ({ x = 0, y = 0, w, h }) => ({
    position: 'absolute',
    left: GAP + x * column,
    top: y * (CELL + GAP),
    width: w * column - GAP,
    height: h * (CELL + GAP) - GAP,
  });
  return (
    <div style={{ background: theme.colors.background.canvas, color: theme.colors.text.primary, width }}>
      <h2 style={{ padding: '12px 16px 4px', margin: 0, fontSize: 18 }}>{board.title}</h2>
      <Variables board={board} />
      <div style={{ position: 'relative', width, height: rows * (CELL + GAP) }}>
        {board.panels.map((panel) => {
          const at = place(panel.gridPos);
          if (panel.type === 'row') {
            return (
              <div key={panel.id} style={{ ...at, paddingTop: 6, fontWeight: 500 }}>
                <Icon name="angle-down" /> {panel.title}
              </div>
            );
          }
          const { width: w, height: h } = at;
          return (
            <div key={panel.id} style={at}>
              <PanelChrome title={filledIn(panel.title)} description={panel.description} width={w} height={h} loadingState={LoadingState.Done}>
                {(width, height) => <Body panel={panel} frames={data.get(panel.id)} width={width} height={height} />}
              </PanelChrome>
            </div>
          );
        })}
      </div>
    </div>
  );
}

const problems = [];

async function answered(panel) {
  const frames = await Promise.all(
    (panel.targets ?? []).map(async (target) => {
      try {
        const found = await run(target, panel);
        if (!found.length) {
          problems.push([board.uid, panel.title, target.refId, 'no data']);
        }
        return found;
      } catch (error) {
        problems.push([board.uid, panel.title, target.refId, error.message]);
        return [];
      }
    })
  );
  return dressed(panel, await transformed(panel, frames.flat()));
}

document.body.style.margin = '0';
const width = document.documentElement.clientWidth;
const board = await (await fetch(asked.get('board'))).json();
const data = new Map(
  await Promise.all(board.panels.map(async (panel) => [panel.id, await answered(panel)]))
);
const context = { eventsScope: 'preview', eventBus: new EventBusSrv(), sync: () => 0, onSeriesColorChange() {} };
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <MemoryRouter>
      <GlobalStyles />
      <PanelContextProvider value={context}>
        <Board board={board} data={data} width={width} />
      </PanelContextProvider>
    </MemoryRouter>
  </ThemeContext.Provider>
);
// Graphs are drawn on a canvas, some frames after React is done; a second is long for that.
setTimeout(() => {
  document.title = `done ${JSON.stringify(problems)}`;
}, 1000);
