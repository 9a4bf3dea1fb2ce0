/* Grammars for answers: GBNF text or a JSON schema becomes a pushdown automaton over bytes, a
 * vocabulary becomes a trie, and a matcher says which tokens may come next. Grammars and tries are
 * immutable and may be shared; a matcher belongs to one generation at a time. */
#pragma once

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hn_grammar hn_grammar;

enum { HN_GRAMMAR_MAX_BYTES = 1 << 20 }; /* of GBNF or schema text */

/* From llama.cpp's GBNF; the rule `root` is the whole answer. `where` opens messages, which say the
 * line. */
HN_MUST_CHECK hn_status hn_grammar_from_gbnf(hn_grammar **out, const char *text, size_t n_bytes,
                                             const char *where, hn_error *err);
/* From a JSON schema (2020-12; docs/constrain.md has the list). Every text of the grammar is
 * JSON that the schema accepts; a keyword that can't be honoured is HN_UNSUPPORTED with its name
 * and JSON pointer, a schema that is none HN_BAD_INPUT. */
HN_MUST_CHECK hn_status hn_grammar_from_schema(hn_grammar **out, const json_t *schema,
                                               const char *where, hn_error *err);
/* The same from text, parsed strictly. */
HN_MUST_CHECK hn_status hn_grammar_from_schema_text(hn_grammar **out, const char *text,
                                                    size_t n_bytes, const char *where,
                                                    hn_error *err);
void hn_grammar_free(hn_grammar *grammar);
/* A blank at the very beginning says nothing: it doesn't matter whether a decoder drops it. */
bool hn_grammar_starts_free(const hn_grammar *grammar);

/* A control token is read as this byte, which is in no UTF-8, and its name: so that it comes only
 * where a grammar asks for it or anything goes (calls.h), never for text that looks like it. */
enum { HN_GRAMMAR_CONTROL = 0xFF };

/* The bytes of all tokens as a tree. Tokens without bytes are in no mask. */
typedef struct hn_token_trie hn_token_trie;
/* Gives the bytes of token `id`, borrowed until the trie is made; *n_bytes 0 = leave it out. */
typedef void hn_token_text(void *context, int32_t id, const char **data, size_t *n_bytes);
HN_MUST_CHECK hn_status hn_token_trie_new(hn_token_trie **out, int32_t n_tokens,
                                          hn_token_text *text, void *context, hn_error *err);
void hn_token_trie_free(hn_token_trie *trie);
int32_t hn_token_trie_size(const hn_token_trie *trie);

/* Where in the grammar a text stands, with the states and masks that were met so far (bounded, and
 * kept over a restart: they are the cache). */
typedef struct hn_matcher hn_matcher;
/* `grammar` and `trie` are borrowed; without a trie (NULL) there are no masks. */
HN_MUST_CHECK hn_status hn_matcher_new(hn_matcher **out, const hn_grammar *grammar,
                                       const hn_token_trie *trie, hn_error *err);
void hn_matcher_free(hn_matcher *matcher);
/* Back to the empty text. */
HN_MUST_CHECK hn_status hn_matcher_restart(hn_matcher *matcher, hn_error *err);
/* Goes on by these bytes; *accepted false: the grammar has no such text, and the matcher stays
 * where it was. HN_UNSUPPORTED when the grammar is too ambiguous to follow. */
HN_MUST_CHECK hn_status hn_matcher_feed(hn_matcher *matcher, const char *data, size_t n_bytes,
                                        bool *accepted, hn_error *err);
/* Trying out what may come: the place in the text, going on from there (as hn_matcher_feed, without
 * emptying the cache), and back. A place is valid until the next call of another function. */
int32_t hn_matcher_place(const hn_matcher *matcher);
HN_MUST_CHECK hn_status hn_matcher_go(hn_matcher *matcher, const char *data, size_t n_bytes,
                                      bool *accepted, hn_error *err);
void hn_matcher_return(hn_matcher *matcher, int32_t place);
/* As hn_matcher_mask, leaving the cache and with it all places as they are. */
HN_MUST_CHECK hn_status hn_matcher_look(hn_matcher *matcher, const uint64_t **mask,
                                        int32_t *n_allowed, hn_error *err);
/* The bytes that must follow, whatever comes: at most `max`; *n 0 where there is a choice. */
HN_MUST_CHECK hn_status hn_matcher_forced(hn_matcher *matcher, char *bytes, size_t max, size_t *n,
                                          hn_error *err);
/* May the text end here; may bytes follow. */
bool hn_matcher_may_end(const hn_matcher *matcher);
bool hn_matcher_may_go_on(const hn_matcher *matcher);
/* One bit a token, low bit first: may it follow. *n_allowed counts them. Borrowed until the next
 * call with this matcher. */
HN_MUST_CHECK hn_status hn_matcher_mask(hn_matcher *matcher, const uint64_t **mask,
                                        int32_t *n_allowed, hn_error *err);
