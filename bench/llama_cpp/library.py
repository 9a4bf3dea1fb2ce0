"""Greedy continuations by llama.cpp's library, through llama-cpp-python's low-level bindings."""
import ctypes

import llama_cpp
import numpy as np


@llama_cpp.llama_log_callback
def be_silent(_level, _text, _context):
    pass


class Llama:
    """A model and `side_by_side` sequences of n_ctx tokens each. exact: attention and its cache in f32."""

    def __init__(self, path, n_ctx, side_by_side, exact, threads):
        llama_cpp.llama_log_set(be_silent, None)
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_seq_max = side_by_side
        params.n_ctx = side_by_side * -(-n_ctx // 256) * 256
        params.n_threads = params.n_threads_batch = threads
        if exact:
            params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
            params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def close(self):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def ids(self, text, special):
        data = text.encode("utf-8")
        ids = (llama_cpp.llama_token * (len(data) + 2))()
        return ids[:llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, len(ids), True, special)]

    def text(self, ids):
        data = ctypes.create_string_buffer(64 * len(ids) + 64)
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        size = llama_cpp.llama_detokenize(self.vocab, tokens, len(ids), data, len(data), False, False)
        return data.raw[:size].decode("utf-8", errors="replace")

    def ends(self, token):
        return llama_cpp.llama_vocab_is_eog(self.vocab, token)

    def logits(self, rows):
        """Logits of the rows (token, position, sequence, wanted) that are wanted: (rows, n_vocab)."""
        batch = llama_cpp.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, wanted
        status = llama_cpp.llama_decode(self.context, batch)
        llama_cpp.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")
        shape = (sum(row[3] for row in rows), self.n_vocab)
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self.context), shape=shape).copy()

    def prompt_logits(self, ids):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        return self.logits([(token, i, 0, True) for i, token in enumerate(ids)])

    def continuations(self, prompts, n_tokens, banned):
        """For each prompt (ids) the ids that follow, all sequences side by side; an end is the last of its ids."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        answers = [[] for _ in prompts]
        best = {}
        for s, ids in enumerate(prompts):
            best[s] = self.logits([(t, i, s, i == len(ids) - 1) for i, t in enumerate(ids)])[0]
        while best:
            rows = []
            for s, logits in best.items():
                logits[banned] = -np.inf
                answers[s].append(int(logits.argmax()))
                if len(answers[s]) < n_tokens and not self.ends(answers[s][-1]):
                    rows.append((answers[s][-1], len(prompts[s]) + len(answers[s]) - 1, s, True))
            best = dict(zip((row[2] for row in rows), self.logits(rows))) if rows else {}
        return answers
