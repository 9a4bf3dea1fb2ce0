// A conversation. Editing a message or asking again for an answer makes a sibling and loses nothing:
// a path through the tree, along each node's chosen child, is what is shown and sent.

let lastId = 0;

export class Tree {
  constructor() {
    this.root = {children: [], chosen: 0};
  }

  // role: user or assistant. The new node becomes the chosen one.
  add(parent, role, text = '') {
    const node = {id: ++lastId, role, text, reasoning: '', parent, children: [], chosen: 0, state: 'done',
                  error: null, stats: {}, finish: '', sent: null, model: '', rating: 0};
    parent.chosen = parent.children.push(node) - 1;
    return node;
  }

  path() {
    const nodes = [];
    for (let node = this.root.children[this.root.chosen]; node; node = node.children[node.chosen]) nodes.push(node);
    return nodes;
  }

  last() {
    return this.path().at(-1) ?? this.root;
  }

  step(node, by) {
    const {parent} = node;
    parent.chosen = Math.min(Math.max(parent.chosen + by, 0), parent.children.length - 1);
    return parent.children[parent.chosen];
  }
}

// The messages from the beginning up to and with `node`.
export function messagesTo(node, system) {
  const messages = [];
  for (let at = node; at.role; at = at.parent)
    if (at.text) messages.unshift({role: at.role, content: at.text});
  if (system) messages.unshift({role: 'system', content: system});
  return messages;
}
