// The panel of settings: model, adapter, key, system prompt, sampling, ratings, and what is kept.
import {getJson, setKey} from './api.js';
import {byId, download, el} from './dom.js';
import * as ratings from './ratings.js';

const STORE = 'hone';
const WIDE = matchMedia('(min-width: 60rem)');

// name in the request, label, limits as the server has them, step
const SAMPLING = [
  ['temperature', 'Temperature', 0, 2, 0.1], ['top_p', 'Top p', 0, 1, 0.05],
  ['max_tokens', 'Token limit', 1, 1e9, 1], ['seed', 'Seed', 0, Number.MAX_SAFE_INTEGER, 1]];
const MORE = [
  ['top_k', 'Top k', 0, 1e9, 1], ['min_p', 'Min p', 0, 1, 0.05],
  ['repeat_penalty', 'Repeat penalty', 0.01, 100, 0.05], ['presence_penalty', 'Presence penalty', -2, 2, 0.1],
  ['frequency_penalty', 'Frequency penalty', -2, 2, 0.1]];
const SCALE = ['scale', 'Scale of the adapter', -2, 2, 0.1];
const FIELDS = [...SAMPLING, ...MORE];

let models = []; // of /v1/models: {id, parent}
let onModels = () => {}, onKey = () => {};

/* ---- models and adapters ---- */

const adaptersOf = (model) => models.filter((m) => m.parent === model);
export const baseModels = () => models.filter((m) => !m.parent).map((m) => m.id);
export const modelName = () => byId('adapter').value || byId('model').value;

function fill(select, entries, wanted) {
  select.replaceChildren(...entries.map(([value, label]) => el('option', {value}, label)));
  if (entries.some(([value]) => value === wanted)) select.value = wanted;
}

function fillAdapters(wanted) {
  const adapters = adaptersOf(byId('model').value);
  fill(byId('adapter'), [['', 'None'], ...adapters.map((m) => [m.id, m.id])], wanted);
  byId('adapter-field').hidden = adapters.length === 0;
  showScale();
}

const showScale = () => { byId('scale-field').hidden = !byId('adapter').value; };

// Throws an ApiError. Keeps what is chosen as far as it is still served.
export async function loadModels() {
  const [model, adapter] = [byId('model').value || byId('model').dataset.wanted,
                            byId('adapter').value || byId('adapter').dataset.wanted];
  models = (await getJson('v1/models')).data;
  fill(byId('model'), baseModels().map((id) => [id, id]), model);
  fillAdapters(adapter);
  onModels();
}

/* ---- what a request says ---- */

function check([name, label, low, high]) {
  const input = byId(`f-${name}`), note = byId(`f-${name}-note`);
  const bad = !input.validity.valid;
  note.textContent = bad ? `${label}: from ${low} to ${high > 1e6 ? 'any' : high}${input.step === '1' ? ', a whole number' : ''}` : '';
  note.hidden = !bad;
  input.setAttribute('aria-invalid', String(bad));
  return !bad;
}

// The fields of a request, or null when one is wrong: it is shown then.
export function requestFields() {
  const adapter = byId('adapter').value, scale = byId('f-scale').value;
  const wrong = [...adapter ? [SCALE] : [], ...FIELDS].filter((field) => !check(field));
  if (wrong.length) {
    open(true);
    const input = byId(`f-${wrong[0][0]}`);
    input.closest('details')?.setAttribute('open', '');
    input.focus();
    return null;
  }
  const fields = {model: modelName()};
  for (const [name] of FIELDS) if (byId(`f-${name}`).value !== '') fields[name] = Number(byId(`f-${name}`).value);
  // Adapters have the numbers of their order.
  if (adapter && scale !== '')
    fields.lora = [{id: adaptersOf(byId('model').value).findIndex((m) => m.id === adapter), scale: Number(scale)}];
  const stop = byId('stop-strings').value.split('\n').filter((line) => line);
  if (stop.length) fields.stop = stop;
  return fields;
}

export const systemPrompt = () => byId('system').value.trim();

function numberField([name, label, low, high, step]) {
  const note = `f-${name}-note`;
  const input = el('input', {id: `f-${name}`, type: 'number', min: low, max: high, step: step === 1 ? 1 : 'any',
                             inputmode: step === 1 && low >= 0 ? 'numeric' : 'decimal', 'aria-describedby': note});
  input.addEventListener('change', () => check([name, label, low, high, step]));
  return el('div', {class: 'field'}, el('label', {for: input.id}, label), input,
            el('p', {class: 'wrong', id: note, hidden: true}));
}

/* ---- what is kept ---- */

const TEXTS = ['system', 'stop-strings', 'model', 'adapter', ...[SCALE, ...FIELDS].map(([name]) => `f-${name}`)];

// Writes when the person wants it kept; never the key.
export function keep() {
  try {
    if (byId('keep').checked)
      localStorage.setItem(STORE, JSON.stringify({
        fields: Object.fromEntries(TEXTS.map((id) => [id, byId(id).value || byId(id).dataset.wanted || ''])), ratings: ratings.all()}));
    else
      localStorage.removeItem(STORE);
  } catch { /* a browser that stores nothing, or is full: the page works without */ }
}

function restore() {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(STORE));
  } catch { /* none, or not ours */ }
  byId('keep').checked = Boolean(kept);
  for (const id of TEXTS) {
    const value = kept?.fields?.[id];
    if (typeof value !== 'string') continue;
    if (id === 'model' || id === 'adapter') byId(id).dataset.wanted = value; // set once the list is there
    else byId(id).value = value;
  }
  ratings.restore(kept?.ratings);
}

/* ---- ratings ---- */

export function ratingsChanged() {
  const n = ratings.all().length, nPairs = ratings.pairs().length, nLiked = ratings.liked().length;
  byId('rating-count').textContent = n ? `${n} rated: ${nLiked} liked, ${nPairs} ${nPairs === 1 ? 'pair' : 'pairs'}` : 'No answer rated yet';
  byId('get-pairs').disabled = nPairs === 0;
  byId('get-liked').disabled = nLiked === 0;
  byId('forget-ratings').disabled = n === 0;
  keep();
}

/* ---- the panel ---- */

// What the panel lies over can't be reached by the keyboard either.
function coverChanged() {
  for (const view of document.querySelectorAll('.view')) view.inert = !byId('settings').hidden && !WIDE.matches;
}

export function open(isOpen, takeFocus = false) {
  const panel = byId('settings');
  panel.hidden = !isOpen;
  byId('open-settings').setAttribute('aria-expanded', String(isOpen));
  coverChanged();
  if (takeFocus) (isOpen ? byId('model') : byId('open-settings')).focus();
}

// Beside the chat it stays as it was; the other view has it only when it is asked for.
let wasOpen = false;
export function viewChanged(from, to) {
  if (from === 'chat') wasOpen = WIDE.matches && !byId('settings').hidden;
  open(to === 'chat' && wasOpen);
}

// Only where it lies over the chat: beside it, it is in nobody's way.
export function closeOverlay() {
  if (byId('settings').hidden || WIDE.matches) return false;
  open(false, true);
  return true;
}

export function askForKey() {
  open(true);
  byId('key').focus();
}

export function start(handlers) {
  ({onModels, onKey} = handlers);
  byId('scale-field').append(numberField(SCALE));
  byId('sampling').append(...SAMPLING.map(numberField));
  byId('sampling-more').append(...MORE.map(numberField));
  restore();
  wasOpen = WIDE.matches;
  byId('open-settings').addEventListener('click', () => open(byId('settings').hidden, true));
  byId('close-settings').addEventListener('click', () => open(false, true));
  WIDE.addEventListener('change', coverChanged);
  byId('settings-form').addEventListener('submit', (event) => event.preventDefault());
  byId('settings-form').addEventListener('change', (event) => {
    if (event.target.id === 'model') fillAdapters('');
    if (event.target.id === 'adapter') showScale();
    if (event.target.id === 'model' || event.target.id === 'adapter') onModels();
    if (event.target.id === 'key') {
      setKey(byId('key').value);
      onKey();
    }
    keep();
  });
  byId('get-pairs').addEventListener('click', () => download('pairs.jsonl', ratings.lines(ratings.pairs())));
  byId('get-liked').addEventListener('click', () => download('liked.jsonl', ratings.lines(ratings.liked())));
  byId('forget-ratings').addEventListener('click', () => {
    ratings.forgetAll();
    handlers.onForget();
    ratingsChanged();
  });
  ratingsChanged();
}
