// Prometheus' text format, as far as /metrics uses it.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const unescape = (text) => text.replace(/\\(.)/g, (_, c) => c === 'n' ? '\n' : c);

export function parseMetrics(text) {
  const samples = new Map(); // name: [{labels, value}]
  for (const line of text.split('\n')) {
    const found = line.match(LINE);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? '').matchAll(LABEL)) labels[name] = unescape(value);
    if (!samples.has(found[1])) samples.set(found[1], []);
    samples.get(found[1]).push({labels, value: found[3] === '+Inf' ? Infinity : Number(found[3])});
  }
  return samples;
}

// The sum over all models, or one model's value; 0 where there is none.
export function valueOf(samples, name, model) {
  let sum = 0;
  for (const {labels, value} of samples.get(name) ?? []) if (!model || labels.model === model) sum += value;
  return sum;
}

// A histogram's buckets: [[upper bound, how many up to it], ...].
export function bucketsOf(samples, name, model) {
  const counts = new Map();
  for (const {labels, value} of samples.get(`${name}_bucket`) ?? []) {
    if (model && labels.model !== model) continue;
    const bound = labels.le === '+Inf' ? Infinity : Number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return [...counts].sort((a, b) => a[0] - b[0]);
}

// The q-quantile of what came between two looks, as Prometheus' histogram_quantile; null = nothing came.
export function quantile(q, before, after) {
  const counts = after.map(([bound, n], i) => [bound, n - (before[i]?.[1] ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const rank = q * total, at = counts.findIndex(([, n]) => n >= rank);
  const [low, below] = at > 0 ? counts[at - 1] : [0, 0];
  const [high, upTo] = counts[at];
  if (high === Infinity) return low;
  return low + (high - low) * (rank - below) / Math.max(upTo - below, 1);
}
