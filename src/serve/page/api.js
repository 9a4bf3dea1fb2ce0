// Requests to the server that the page came from, and what can go wrong with them.

let key = '';
export function setKey(text) {
  key = text.trim();
}

// kind: offline, key, busy, unavailable, context, cut, refused.
export class ApiError extends Error {
  constructor(kind, message, retryAfter = 0) {
    super(message);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');

export function errorOf(status, body, retryAfter = 0) {
  const {message = `the server answered with status ${status}`, code = ''} = body?.error ?? {};
  let kind = 'refused';
  if (status === 401) kind = 'key';
  else if (status === 429) kind = 'busy';
  else if (status === 503) kind = 'unavailable';
  if (code === 'exceed_context_size_error') kind = 'context';
  if (kind === 'key') return new ApiError(kind, key ? "The server doesn't know this API key." : 'This server wants an API key.');
  if (code === 'origin_not_allowed') // a name could be somebody else's: docs/serve.md
    return new ApiError(kind, 'Without API keys this server answers pages only at localhost or an address of digits. Open it there, ' +
                              `or start it with --api-keys FILE or --cors-origin ${location.origin}`);
  return new ApiError(kind, sentence(message), retryAfter);
}

async function errorOfResponse(response) {
  let body = null;
  try {
    body = await response.json();
  } catch { /* a proxy's page, or nothing */ }
  return errorOf(response.status, body, Number(response.headers.get('Retry-After')) || 0);
}

// path: relative, so that a proxy may serve all of this below a path of its own.
export async function request(path, {body, signal} = {}) {
  const headers = {};
  if (/[^\x21-\x7e]/.test(key)) throw new ApiError('key', 'A key has no blanks and only plain letters, digits and signs.');
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, {method: body ? 'POST' : 'GET', headers, signal, cache: 'no-store',
                                  body: body ? JSON.stringify(body) : undefined});
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('offline', "The server can't be reached. Is it running?");
  }
  if (!response.ok) throw await errorOfResponse(response);
  return response;
}

export const getJson = async (path, options) => (await request(path, options)).json();
export const getText = async (path, options) => (await request(path, options)).text();
