// How the server stands, looked at once a second while the page is seen: numbers over the last minute,
// and what each slot does.
import {getJson, getText} from './api.js';
import {byId, button, el, problem} from './dom.js';
import {chart} from './chart.js';
import {bucketsOf, parseMetrics, quantile, valueOf} from './metrics.js';
import * as settings from './settings.js';

const EVERY_MS = 1000, AFTER_PROBLEM_MS = 5000, LENGTH = 60;
const TTFT = 'hone_time_to_first_token_seconds', ITL = 'hone_inter_token_latency_seconds';

let timer = 0, lastLook = 0, isShown = false, model = '', slots = null, before = null;
let history = {}; // of a tile: numbers, the newest last

const number = (x, digits = 0) => x.toLocaleString(undefined, {maximumFractionDigits: digits});
const seconds = (s) => s === null || s === undefined ? '–' : s < 1 ? `${number(s * 1000)} ms` : `${number(s, 2)} s`;

const TILES = [
  {id: 'running', label: 'Running', text: (now) => number(now.running), value: (now) => now.running, most: 1},
  {id: 'waiting', label: 'Waiting', text: (now) => number(now.waiting), value: (now) => now.waiting, most: 1},
  {id: 'kv', label: 'KV cache in use', text: (now) => `${number(now.kv * 100, 1)} %`, value: (now) => now.kv, most: 1},
  {id: 'rate', label: 'Tokens/s', text: (now) => number(now.rate, 1), value: (now) => now.rate, most: 1},
  {id: 'first', label: 'First token, p50 / p95', text: (now) => `${seconds(now.first50)} / ${seconds(now.first95)}`},
  {id: 'cached', label: 'Prompt found in the cache', text: (now) => now.cached === null ? '–' : `${number(now.cached * 100, 1)} %`},
];

/* ---- numbers ---- */

// first: how the buckets stood a minute ago.
function numbersOf(samples, at) {
  const tokens = valueOf(samples, `${TTFT}_count`, model) + valueOf(samples, `${ITL}_count`, model);
  const buckets = bucketsOf(samples, TTFT, model);
  const queries = valueOf(samples, 'hone_prefix_cache_queries_total', model);
  const past = [...(before?.past ?? []), buckets].slice(-LENGTH);
  const elapsed = before ? (at - before.at) / 1000 : 0;
  const now = {
    running: valueOf(samples, 'hone_num_requests_running', model),
    waiting: valueOf(samples, 'hone_num_requests_waiting', model),
    kv: valueOf(samples, 'hone_kv_cache_usage_perc', model),
    isLoaded: valueOf(samples, 'hone_model_loaded', model) > 0,
    rate: elapsed > 0 ? Math.max(tokens - before.tokens, 0) / elapsed : 0,
    first50: quantile(0.5, past[0], buckets),
    first95: quantile(0.95, past[0], buckets),
    cached: queries > 0 ? valueOf(samples, 'hone_prefix_cache_hits_total', model) / queries : null,
  };
  before = {tokens, at, past};
  return now;
}

/* ---- showing ---- */

function showTiles(now) {
  byId('tiles').replaceChildren(...TILES.map(({id, label, text, value, most}) => {
    const tile = el('div', {class: 'tile', id: `tile-${id}`, role: 'group', 'aria-label': label}, el('h2', {}, label),
                    el('p', {class: 'figure'}, text(now)));
    if (value) {
      history[id] = [...(history[id] ?? []), value(now)].slice(-LENGTH);
      const highest = Math.max(...history[id]);
      tile.append(chart(history[id], {most, length: LENGTH, label: `${label} over the last minute, at most ${id === 'kv' ? `${number(highest * 100, 1)} %` : number(highest, 1)}`}));
    }
    return tile;
  }));
}

const STATES = {idle: 'idle', prefill: 'reading', decode: 'writing'};

function slotItem(slot) {
  const isBusy = slot.state !== 'idle';
  const share = slot.state === 'prefill' ? slot.n_computed / Math.max(slot.n_prompt_tokens, 1) : 1;
  const about = !isBusy ? '' : slot.state === 'prefill'
    ? `${number(slot.n_computed)} of ${number(slot.n_prompt_tokens)} prompt tokens`
    : `${number(slot.n_decoded)} ${slot.n_decoded === 1 ? 'token' : 'tokens'} after ${number(slot.n_prompt_tokens)}`;
  const bar = el('span', {class: 'bar', 'aria-hidden': 'true'}, el('span', {class: 'bar-part'}));
  bar.firstChild.style.width = `${isBusy ? Math.round(100 * share) : 0}%`;
  return el('li', {class: `slot ${slot.state}`}, el('span', {class: 'slot-id'}, `${slot.id}`),
            el('span', {class: 'slot-state'}, STATES[slot.state] ?? slot.state), bar,
            el('span', {class: 'slot-about'}, isBusy ? `${about} · ${seconds(slot.age_ms / 1000)}` : ''));
}

function showSlots(now) {
  const busy = slots?.filter((slot) => slot.state !== 'idle').length ?? 0;
  byId('slot-summary').textContent = slots ? `${busy} of ${slots.length} busy`
    : now.isLoaded ? '' : 'This model isn\'t in memory; it is opened at the next request.';
  byId('slots').replaceChildren(...(slots ?? []).map(slotItem));
}

/* ---- looking ---- */

async function look() {
  const mine = ++lastLook; // a later one takes over
  clearTimeout(timer);
  let wait = EVERY_MS;
  try {
    if (!model) await settings.loadModels();
    const samples = parseMetrics(await getText('metrics'));
    if (mine !== lastLook) return;
    const now = numbersOf(samples, performance.now());
    const found = now.isLoaded ? await getJson(`slots?model=${encodeURIComponent(model)}`) : null;
    if (mine !== lastLook) return;
    slots = found;
    showTiles(now);
    showSlots(now);
    byId('load-problem').replaceChildren();
  } catch (error) {
    if (mine !== lastLook) return;
    showProblem(error);
    wait = AFTER_PROBLEM_MS;
  }
  if (isShown && !document.hidden) timer = setTimeout(look, wait);
}

function showProblem(error) {
  const place = byId('load-problem');
  if (place.textContent.includes(error.message)) return; // it is read aloud once
  place.replaceChildren(error.kind === 'key' ? problem(error.message, button('Enter a key', settings.askForKey)) : problem(error.message));
}

function restart() {
  model = byId('load-model').value;
  slots = null;
  before = null;
  history = {};
  if (isShown) look();
}

export function modelsChanged() {
  const names = settings.baseModels(), select = byId('load-model');
  if (names.join('\n') === [...select.options].map((option) => option.value).join('\n')) return;
  select.replaceChildren(...names.map((name) => el('option', {value: name}, name)));
  select.hidden = names.length < 2;
  model = select.value;
}

export function lookAgain() {
  if (isShown) look();
}

export function setShown(shown) {
  isShown = shown;
  clearTimeout(timer);
  if (shown) look();
}

export function start() {
  byId('load-model').addEventListener('change', restart);
  document.addEventListener('visibilitychange', () => {
    if (isShown && !document.hidden) look();
  });
}
