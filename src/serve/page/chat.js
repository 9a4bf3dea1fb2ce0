// The chat: what is sent, what comes back, and what the person does with it.
import {ApiError} from './api.js';
import {byId, button, problem} from './dom.js';
import {MessageView} from './message.js';
import * as ratings from './ratings.js';
import * as settings from './settings.js';
import {complete} from './stream.js';
import {messagesTo, Tree} from './tree.js';

const MOST_TRIES = 6; // of a request that the server is too busy for
const NEAR_END = 80;  // pixels: who is that near to the end is kept there

let tree = new Tree();
let views = new Map(); // of nodes
let running = null;    // {node, controller}

/* ---- showing ---- */

const viewOf = (node) => {
  if (!views.has(node)) views.set(node, new MessageView(node, ON));
  return views.get(node);
};

function show() {
  const list = byId('messages');
  const elements = tree.path().map((node) => viewOf(node).element);
  if (elements.length !== list.children.length || elements.some((element, i) => element !== list.children[i]))
    list.replaceChildren(...elements);
  for (const node of tree.path()) viewOf(node).update();
  byId('welcome').hidden = elements.length > 0;
  byId('send').hidden = running !== null;
  byId('stop').hidden = running === null;
}

// Runs `change`, and stays at the end of the thread if that is where the person was.
function following(change) {
  const thread = byId('thread');
  const isAtEnd = thread.scrollHeight - thread.scrollTop - thread.clientHeight < NEAR_END;
  change();
  if (isAtEnd) thread.scrollTop = thread.scrollHeight;
}

// Updates at most once a frame, however fast tokens come.
function updater(node) {
  let isAsked = false;
  return () => {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      following(() => viewOf(node).update());
    });
  };
}

function announce(node) {
  const text = node.error ? '' : node.text || 'The answer is empty.';
  byId('finished').textContent = node.state === 'stopped' ? `Stopped. ${text}` : text;
}

/* ---- asking ---- */

const sleep = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    reject(new DOMException('', 'AbortError'));
  }, {once: true});
});

// Counts down, so that it is seen that something will happen.
async function waitForTurn(node, error, signal, changed) {
  for (let left = Math.max(1, Math.min(error.retryAfter, 60)); left > 0; left--) {
    node.error = new ApiError('busy', `The server is busy. Trying again in ${left} s.`);
    changed();
    await sleep(1000, signal);
  }
  node.error = null;
  changed();
}

async function askUntilTaken(node, body, signal, changed) {
  for (let tries = 1;; tries++) {
    try {
      await complete(body, node, signal, () => {
        node.state = 'streaming';
        changed();
      });
      return;
    } catch (error) {
      if (error.kind !== 'busy' || tries === MOST_TRIES) throw error;
      if (tries === 1) byId('finished').textContent = 'The server is busy. The request will be tried again.';
      await waitForTurn(node, error, signal, changed);
    }
  }
}

// Lets the model write `node`.
async function run(node, body) {
  const controller = new AbortController();
  Object.assign(node, {state: 'waiting', error: null, finish: ''});
  running = {node, controller};
  const changed = updater(node);
  show();
  const thread = byId('thread');
  thread.scrollTop = thread.scrollHeight;
  if (document.activeElement === document.body) thread.focus(); // the button that was pressed is gone
  try {
    await askUntilTaken(node, body, controller.signal, changed);
    node.state = 'done';
  } catch (error) {
    node.state = error.name === 'AbortError' ? 'stopped' : 'failed';
    node.error = error.name === 'AbortError' ? null : error;
  }
  running = null;
  following(show);
  announce(node);
  if (document.activeElement === thread) viewOf(node).element.querySelector('button')?.focus();
  if (node.error?.kind === 'key') settings.askForKey();
}

// Lets the model answer `parent`, as a new child of it.
function answer(parent) {
  const fields = settings.requestFields();
  if (!fields || running) return;
  const node = tree.add(parent, 'assistant');
  node.sent = messagesTo(parent, settings.systemPrompt());
  node.model = fields.model;
  run(node, {...fields, messages: node.sent});
}

export function stop() {
  running?.controller.abort();
  return running !== null;
}

function send(text, parent) {
  if (running || !text.trim() || !settings.requestFields()) return false;
  answer(tree.add(parent, 'user', text.trim()));
  return true;
}

export function fresh() {
  stop();
  tree = new Tree();
  views = new Map();
  show();
  byId('message').focus();
}

/* ---- what a message's buttons do ---- */

const ON = {
  again(node) {
    if (running) return;
    // An answer that failed before its first word isn't worth keeping as a version.
    if (node.state === 'failed' && !node.text && node.children.length === 0) {
      node.parent.children.splice(node.parent.children.indexOf(node), 1);
      views.delete(node);
    }
    answer(node.parent);
  },
  more(node) {
    const fields = settings.requestFields();
    if (!fields || running) return;
    ON.rate(node, 0); // it was about another text
    run(node, {...fields, messages: [...node.sent, {role: 'assistant', content: node.text}], continue_final_message: true});
  },
  // Whether it was taken.
  edit(node, text) {
    if (node.role === 'user') return send(text, node.parent);
    const edited = tree.add(node.parent, 'assistant', text);
    Object.assign(edited, {sent: node.sent, model: node.model});
    show();
    return true;
  },
  rate(node, rating) {
    node.rating = rating;
    ratings.rate(node.sent, node.text, rating, node.model);
    settings.ratingsChanged();
    show();
  },
  step(node, by) {
    if (running) return;
    const now = tree.step(node, by);
    show();
    const actions = viewOf(now).actions;
    (actions.querySelector(`[data-act=${by < 0 ? 'previous' : 'next'}]:enabled`) ?? actions.querySelector('[data-act]:enabled'))?.focus();
  },
  fresh,
  key: settings.askForKey,
};

export function forgetRatings() {
  for (const node of views.keys()) node.rating = 0;
  show();
}

/* ---- the server as a whole ---- */

export function showModel() {
  const name = settings.modelName();
  byId('using').textContent = name;
  byId('welcome-title').textContent = name ? `Chat with ${name}` : 'Chat';
}

// The answer that had no key is asked for again once there is a right one.
export async function keyChanged() {
  await connect();
  const last = tree.last();
  if (settings.modelName() && last.error?.kind === 'key') ON.again(last);
}

export async function connect() {
  try {
    await settings.loadModels();
    byId('connection').replaceChildren();
  } catch (error) {
    const actions = [button('Try again', connect)];
    if (error.kind === 'key') actions.unshift(button('Enter a key', settings.askForKey));
    byId('connection').replaceChildren(problem(error.message, ...actions));
  }
}

export function start() {
  const message = byId('message');
  const fit = () => {
    message.style.height = 'auto';
    message.style.height = `${message.scrollHeight}px`;
  };
  const submit = () => {
    if (!send(message.value, tree.last())) return;
    message.value = '';
    fit();
    message.focus();
  };
  message.addEventListener('input', fit);
  message.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  byId('stop').addEventListener('click', () => {
    stop();
    message.focus();
  });
  byId('new-chat').addEventListener('click', fresh);
  show();
}
