// A model's text as paragraphs and blocks of code. All of it becomes text nodes: nothing that a model
// writes is markup.
import {button, copyText, el} from './dom.js';

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^`]*$/;

export function blocksOf(text) {
  const blocks = [];
  let lines = [], code = null;
  const endParagraph = () => {
    if (lines.length) blocks.push({kind: 'text', text: lines.join('\n')});
    lines = [];
  };
  for (const line of text.split('\n')) {
    const fence = line.match(FENCE);
    if (code && fence && !fence[2] && fence[1][0] === code.fence[0] && fence[1].length >= code.fence.length) {
      blocks.push({kind: 'code', language: code.language, text: code.lines.join('\n')});
      code = null;
    } else if (code) {
      code.lines.push(line);
    } else if (fence) {
      endParagraph();
      code = {fence: fence[1], language: fence[2], lines: []};
    } else if (line.trim() === '') {
      endParagraph();
    } else {
      lines.push(line);
    }
  }
  endParagraph();
  if (code) blocks.push({kind: 'code', language: code.language, text: code.lines.join('\n')});
  return blocks;
}

function paragraph(text) {
  const parts = text.split(/`([^`\n]+)`/);
  return el('p', {}, ...parts.map((part, i) => i % 2 ? el('code', {}, part) : part));
}

function codeBlock({language, text}) {
  const copy = button('Copy', async () => {
    copy.textContent = await copyText(text) ? 'Copied' : "Can't copy here";
    setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
  }, {'aria-label': 'Copy the code'});
  return el('figure', {class: 'code'}, el('figcaption', {}, el('span', {}, language || 'code'), copy),
            el('pre', {tabindex: 0}, el('code', {}, text)));
}

const isSame = (a, b) => a && b && a.kind === b.kind && a.text === b.text && a.language === b.language;

// Shows `text` in `parent`; what is unchanged since the last time stays as it is, so that a selection
// in a growing answer survives.
export function showText(parent, text) {
  const blocks = blocksOf(text), before = parent.shownBlocks ?? [];
  let same = 0;
  while (same < before.length && isSame(before[same], blocks[same])) same++;
  while (parent.childNodes.length > same) parent.lastChild.remove();
  for (const block of blocks.slice(same)) parent.append(block.kind === 'code' ? codeBlock(block) : paragraph(block.text));
  parent.shownBlocks = blocks;
}
