/* Asks a model one question, streams the answer, and compares two texts by their embeddings.
 * C99 and C++11 alike: cc embed.c $(pkg-config --cflags --libs hone) */
#include <hone.h>
#include <stdio.h>
#include <stdlib.h>

/* Sees the answer piece by piece; anything but 0 would end it. */
static int show(void *context, const char *text, size_t n_bytes) {
    return fwrite(text, 1, n_bytes, (FILE *)context) != n_bytes;
}

static float *embed(hone_session *session, const char *text, size_t n, hone_error *err) {
    float *out = (float *)malloc(n * sizeof *out);
    if (!out || hone_embed(session, text, NULL, out, n, err) == HONE_OK)
        return out;
    free(out);
    return NULL;
}

int main(int argc, char **argv) {
    hone_engine *engine = NULL;
    hone_session *session = NULL;
    hone_generate_options options;
    hone_message question = {"user", argc > 2 ? argv[2] : "Write one sentence about the sea."};
    hone_error err = {HONE_OK, ""};
    int failed = 1;

    hone_generate_options_init(&options, sizeof options);
    options.max_tokens = 48;
    options.on_text = show;
    options.on_text_context = stdout;
    if (hone_engine_open(&engine, argc > 1 ? argv[1] : "model.gguf", NULL, &err) == HONE_OK &&
        hone_session_open(&session, engine, NULL, &err) == HONE_OK &&
        hone_chat(session, &question, 1, &options, NULL, &err) == HONE_OK) {
        size_t i, n = (size_t)hone_engine_n_embd(engine);
        float *a = embed(session, "Switch on the lamp", n, &err);
        float *b = a ? embed(session, "It is too dark in here", n, &err) : NULL;
        double cosine = 0;
        for (i = 0; b && i < n; i++)
            cosine += (double)a[i] * (double)b[i];
        if ((failed = !b) == 0)
            printf("\n%.4f\n", cosine);
        free(a);
        free(b);
    }
    if (failed)
        fprintf(stderr, "%s\n", err.message);
    hone_session_close(session);
    hone_engine_close(engine);
    return failed;
}
