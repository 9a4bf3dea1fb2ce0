// One chat completion as a stream: server-sent events into changes of an answer.
import {ApiError, errorOf, request} from './api.js';

// The data of each event. Events are cut anywhere by the network, also within a character.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      rest += value;
      const parts = rest.split('\n\n');
      rest = parts.pop();
      for (const part of parts) {
        const lines = part.split('\n').filter((line) => line.startsWith('data:'));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join('\n');
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function take(answer, event) {
  const choice = event.choices?.[0];
  const delta = choice?.delta ?? {};
  if (delta.content) answer.text += delta.content;
  if (delta.reasoning_content) answer.reasoning += delta.reasoning_content;
  if (choice?.finish_reason) answer.finish = choice.finish_reason;
  if (event.timings) answer.stats.timings = event.timings;
  if (event.usage) answer.stats.usage = event.usage;
  return Boolean(delta.content || delta.reasoning_content);
}

// Adds to answer.{text, reasoning, finish, stats} and calls changed() each time. Throws an ApiError, or
// an AbortError when the signal stopped it.
export async function complete(body, answer, signal, changed) {
  const begun = performance.now();
  answer.stats = {};
  const response = await request('v1/chat/completions', {
    body: {...body, stream: true, stream_options: {include_usage: true}, timings_per_token: true}, signal});
  let whole = false;
  try {
    for await (const data of events(response)) {
      if (data === '[DONE]') {
        whole = true;
        break;
      }
      const event = JSON.parse(data);
      if (event.error) throw errorOf(event.error.status ?? 500, event);
      if (take(answer, event)) answer.stats.first ??= performance.now() - begun;
      changed();
    }
  } catch (error) {
    if (error.name === 'AbortError' || error instanceof ApiError) throw error;
    whole = false;
  }
  if (!whole) throw new ApiError('cut', 'The connection was cut before the answer was finished.');
}

const number = (x, digits) => x.toLocaleString(undefined, {maximumFractionDigits: digits});
const seconds = (ms) => ms < 1000 ? `${number(ms, 0)} ms` : `${number(ms / 1000, 2)} s`;

// What stands below an answer.
export function describe(stats) {
  const {timings, usage, first} = stats ?? {};
  const parts = [];
  const n = usage?.completion_tokens ?? timings?.predicted_n;
  if (n) parts.push(`${number(n, 0)} ${n === 1 ? 'token' : 'tokens'}`);
  if (timings?.predicted_per_second) parts.push(`${number(timings.predicted_per_second, 1)} tokens/s`);
  if (first !== undefined) parts.push(`first token after ${seconds(first)}`);
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  if (usage?.prompt_tokens) parts.push(`${number(usage.prompt_tokens, 0)} in the prompt${cached ? `, ${number(cached, 0)} of them cached` : ''}`);
  return parts.join(' · ');
}
