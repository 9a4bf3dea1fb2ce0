// One message of the conversation on the page.
import {button, copyText, el, problem, thumb} from './dom.js';
import {describe} from './stream.js';
import {showText} from './text.js';

// on: {edit, again, more, rate, step, fresh, key}, called with the node.
export class MessageView {
  constructor(node, on) {
    this.node = node;
    this.on = on;
    this.isEditing = false;
    this.thought = el('details', {class: 'thought', hidden: true}, el('summary', {}, 'Thought'), el('div', {class: 'text'}));
    this.body = el('div', {class: 'text'});
    this.status = el('div', {class: 'slot-for-problem'});
    this.stats = el('p', {class: 'stats', hidden: true});
    this.actions = el('div', {class: 'actions'});
    const name = node.role === 'user' ? 'You' : 'Answer';
    this.article = el('article', {'aria-label': name}, el('p', {class: 'who'}, node.role === 'user' ? 'You' : node.model || 'Answer'),
                      this.thought, this.body, this.status, this.stats, this.actions);
    this.element = el('li', {class: node.role}, this.article);
    this.update();
  }

  // The node has changed.
  update() {
    const {node} = this;
    const isOpen = node.state === 'waiting' || node.state === 'streaming';
    this.element.dataset.state = node.state;
    this.article.setAttribute('aria-busy', String(isOpen));
    this.thought.hidden = !node.reasoning;
    if (node.reasoning) showText(this.thought.lastChild, node.reasoning);
    if (!this.isEditing) showText(this.body, node.text);
    const stats = node.role === 'assistant' ? describe(node.stats) : '';
    this.stats.textContent = [this.outcome(), stats].filter(Boolean).join(' · ');
    this.stats.hidden = !this.stats.textContent;
    this.updateStatus();
    this.updateActions(isOpen);
  }

  outcome() {
    const {role, state, finish, text} = this.node;
    if (role === 'user') return '';
    if (state === 'stopped') return 'stopped';
    if (state === 'done' && finish === 'length') return 'ended at the token limit';
    return state === 'done' && !text ? 'an empty answer' : '';
  }

  updateStatus() {
    const {node} = this;
    const isThinking = node.state === 'streaming' && !node.text;
    const key = `${node.state}|${node.error?.message ?? ''}|${isThinking}`;
    if (key === this.statusKey) return;
    this.statusKey = key;
    if (node.error && node.state === 'waiting')
      this.status.replaceChildren(el('div', {class: 'problem', role: 'status'}, el('p', {}, node.error.message)));
    else if (node.state === 'waiting' || isThinking)
      this.status.replaceChildren(el('p', {class: 'waiting'}, el('span', {class: 'dots', 'aria-hidden': 'true'}),
                                     isThinking ? 'Thinking' : 'Waiting for the first token'));
    else if (node.error)
      this.status.replaceChildren(problem(node.error.message, ...this.remedies()));
    else
      this.status.replaceChildren();
  }

  remedies() {
    const {node, on} = this;
    const again = button('Try again', () => on.again(node), {'data-act': 'retry'});
    if (node.error.kind === 'key') return [button('Enter a key', () => on.key(node)), again];
    if (node.error.kind === 'context') return [button('New chat', () => on.fresh(node)), again];
    return [again];
  }

  updateActions(isOpen) {
    const {node, on} = this;
    const siblings = node.parent.children;
    const at = siblings.indexOf(node);
    const key = [isOpen, this.isEditing, siblings.length, at, node.rating, Boolean(node.text), node.state, node.children.length].join('|');
    if (key === this.actionsKey) return;
    this.actionsKey = key;
    const focused = this.actions.contains(document.activeElement) ? document.activeElement.dataset.act : '';
    const act = (name, label, run, attributes = {}) => button(label, run, {'data-act': name, ...attributes});
    const items = [];
    if (siblings.length > 1)
      items.push(el('span', {class: 'step', role: 'group', 'aria-label': 'Versions'},
                    act('previous', '‹', () => on.step(node, -1), {'aria-label': 'Version before', disabled: at === 0}),
                    el('span', {}, `${at + 1}/${siblings.length}`),
                    act('next', '›', () => on.step(node, 1), {'aria-label': 'Version after', disabled: at === siblings.length - 1})));
    const isEmpty = node.state === 'failed' && !node.text; // the problem has its own button
    if (!isOpen && !this.isEditing && !isEmpty) {
      if (node.text || node.role === 'user') items.push(act('edit', 'Edit', () => this.edit()));
      if (node.role === 'assistant') items.push(act('again', 'Regenerate', () => on.again(node)));
      if (this.isCutShort()) items.push(act('more', 'Continue', () => on.more(node)));
      if (node.text) items.push(act('copy', 'Copy', () => this.copy()));
      if (node.role === 'assistant' && node.text)
        items.push(this.rating(act, 1, 'Good answer'), this.rating(act, -1, 'Bad answer'));
    }
    this.actions.replaceChildren(...items);
    if (focused) (this.actions.querySelector(`[data-act=${focused}]:enabled`) ?? this.actions.querySelector('button:enabled'))?.focus();
  }

  isCutShort() {
    const {role, text, state, finish, children} = this.node;
    return role === 'assistant' && text && children.length === 0 && (state !== 'done' || finish === 'length');
  }

  rating(act, value, label) {
    const isOn = this.node.rating === value;
    return act(value > 0 ? 'up' : 'down', thumb(value > 0), () => this.on.rate(this.node, isOn ? 0 : value),
               {class: 'thumb', 'aria-label': label, title: label, 'aria-pressed': String(isOn)});
  }

  async copy() {
    const copy = this.actions.querySelector('[data-act=copy]');
    copy.textContent = await copyText(this.node.text) ? 'Copied' : "Can't copy here";
    setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
  }

  edit() {
    const {node} = this;
    const isUser = node.role === 'user';
    const end = () => {
      this.isEditing = false;
      this.body.shownBlocks = undefined;
      this.body.replaceChildren();
      this.update();
      this.actions.querySelector('[data-act=edit]')?.focus();
    };
    const area = el('textarea', {'aria-label': isUser ? 'Edit your message' : 'Edit the answer', rows: 3});
    const save = () => {
      if (!area.value.trim()) return;
      const isNew = isUser || area.value !== node.text;
      if (!isNew || this.on.edit(node, area.value)) end();
    };
    area.value = node.text;
    area.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && isUser) {
        event.preventDefault();
        save();
      } else if (event.key === 'Escape') {
        event.stopPropagation();
        end();
      }
    });
    this.isEditing = true;
    this.body.replaceChildren(el('div', {class: 'editor'}, area,
      el('div', {class: 'buttons'}, button(isUser ? 'Send' : 'Save', save, {class: 'primary'}), button('Cancel', end))));
    this.update();
    area.focus();
  }
}
