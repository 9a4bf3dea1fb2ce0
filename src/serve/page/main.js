// Start of the page, and which of its two views is seen.
import * as chat from './chat.js';
import {byId} from './dom.js';
import * as load from './load.js';
import * as settings from './settings.js';

let shown = '';

function showView() {
  const name = location.hash === '#load' ? 'load' : 'chat';
  for (const view of document.querySelectorAll('.view')) view.hidden = view.id !== name;
  for (const link of document.querySelectorAll('nav a'))
    if (link.dataset.view === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  byId('new-chat').hidden = name !== 'chat';
  document.body.dataset.view = name;
  document.title = name === 'load' ? 'Load · hone' : 'hone';
  if (name !== shown) settings.viewChanged(shown, name);
  shown = name;
  load.setShown(name === 'load');
  if (name === 'chat' && matchMedia('(hover: hover)').matches) byId('message').focus();
}

settings.start({
  onModels() {
    chat.showModel();
    load.modelsChanged();
  },
  onKey() {
    chat.keyChanged();
    load.lookAgain();
  },
  onForget: chat.forgetRatings,
});
chat.start();
load.start();
addEventListener('hashchange', showView);
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || event.defaultPrevented) return;
  if (!settings.closeOverlay()) chat.stop();
});
showView();
chat.connect();
