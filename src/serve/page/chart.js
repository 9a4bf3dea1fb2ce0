// A line over the last minute.
import {svg} from './dom.js';

const WIDTH = 240, HEIGHT = 48, PAD = 2;

export function chart(values, {most, length, label}) {
  const top = Math.max(most ?? 0, ...values, 1e-9);
  const x = (i) => WIDTH * (i + length - values.length) / (length - 1);
  const y = (value) => HEIGHT - PAD - (HEIGHT - 2 * PAD) * value / top;
  const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`);
  const root = svg('svg', {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'chart', role: 'img', 'aria-label': label,
                           preserveAspectRatio: 'none'});
  root.append(svg('line', {x1: 0, x2: WIDTH, y1: HEIGHT - PAD, y2: HEIGHT - PAD, class: 'axis'}));
  if (points.length > 1) {
    const floor = HEIGHT - PAD;
    root.append(svg('polygon', {class: 'area', points: `${x(0).toFixed(1)},${floor} ${points.join(' ')} ${WIDTH},${floor}`}),
                svg('polyline', {class: 'line', points: points.join(' ')}));
  }
  return root;
}
