// Helpers for the document. Text goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

function put(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const el = (tag, attributes = {}, ...children) => put(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  put(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

export const button = (label, onclick, attributes = {}) => el('button', {type: 'button', onclick, ...attributes}, label);

const HAND = 'M7 11v9H3.500v-9zM7 11l4-7.500c1.700 0 2.800 1.300 2.500 3L13 10h5.800a2 2 0 0 1 2 2.400l-1.300 6a2 2 0 0 1-2 1.600H7';

export const thumb = (isUp) =>
  svg('svg', {viewBox: '0 0 24 24', width: 18, height: 18, 'aria-hidden': 'true', class: isUp ? 'icon' : 'icon down'},
      svg('path', {d: HAND}));

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // an address that isn't https or loopback has no clipboard
    return false;
  }
}

export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], {type: 'application/jsonl'}));
  const link = el('a', {href: url, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// A problem, where it happened, with what can be done about it.
export const problem = (message, ...actions) =>
  el('div', {class: 'problem', role: 'alert'}, el('p', {}, message),
     actions.length ? el('div', {class: 'buttons'}, ...actions) : null);
