// Thumbs up and down. They stay in this page, unless the person has them kept in the browser or
// downloads them; the server is told nothing.

const ratings = new Map(); // of a prompt and an answer: {prompt, answer, rating, model}
const idOf = (prompt, answer) => JSON.stringify([prompt, answer]);

// prompt: the messages before the answer; rating: 1, -1 or 0.
export function rate(prompt, answer, rating, model) {
  if (rating) ratings.set(idOf(prompt, answer), {prompt, answer, rating, model});
  else ratings.delete(idOf(prompt, answer));
}

export const all = () => [...ratings.values()];
export const forgetAll = () => ratings.clear();

const isRating = (r) => Array.isArray(r?.prompt) && typeof r.answer === 'string' && (r.rating === 1 || r.rating === -1);
export function restore(list) {
  for (const r of Array.isArray(list) ? list.filter(isRating) : []) rate(r.prompt, r.answer, r.rating, r.model);
}

// Each liked answer with each disliked one to the same messages: rows for `hone dpo`.
export function pairs() {
  const byPrompt = new Map();
  for (const r of ratings.values()) {
    const id = JSON.stringify(r.prompt);
    if (!byPrompt.has(id)) byPrompt.set(id, {prompt: r.prompt, liked: [], disliked: []});
    byPrompt.get(id)[r.rating > 0 ? 'liked' : 'disliked'].push(r.answer);
  }
  return [...byPrompt.values()].flatMap(({prompt, liked, disliked}) =>
    liked.flatMap((chosen) => disliked.map((rejected) => ({prompt, chosen, rejected}))));
}

// Conversations that end in a liked answer: rows for `hone sft`.
export const liked = () => all().filter((r) => r.rating > 0)
  .map((r) => ({messages: [...r.prompt, {role: 'assistant', content: r.answer}]}));

export const lines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
