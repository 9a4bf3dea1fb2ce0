/* Moments in 8 bits: a scale a block, and codes that lie closer together where values are small
 * (in the manner of Dettmers et al. 2022, with powers instead of a table). */
#include "train/optim.h"

#include <math.h>

static float largest(const float *x, int n) {
    float most = 0;
    for (int i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

float hn_moment_encode_first(const float *m, int n, int8_t *codes) {
    float scale = largest(m, n), inverse = scale > 0 ? 1.0f / scale : 0;
    for (int i = 0; i < n; i++) {
        int code = (int)(127.0f * sqrtf(fabsf(m[i]) * inverse) + 0.5f);
        codes[i] = (int8_t)(m[i] < 0 ? -code : code);
    }
    return scale;
}

void hn_moment_decode_first(const int8_t *codes, int n, float scale, float *m) {
    for (int i = 0; i < n; i++) {
        float root = (float)codes[i] * (1.0f / 127.0f);
        m[i] = scale * root * fabsf(root);
    }
}

float hn_moment_encode_second(const float *v, int n, uint8_t *codes) {
    float scale = largest(v, n), inverse = scale > 0 ? 1.0f / scale : 0;
    for (int i = 0; i < n; i++) {
        int code = (int)(255.0f * sqrtf(sqrtf(v[i] * inverse)) + 0.5f);
        codes[i] = (uint8_t)(code == 0 && v[i] > 0 ? 1 : code);
    }
    return scale;
}

void hn_moment_decode_second(const uint8_t *codes, int n, float scale, float *v) {
    for (int i = 0; i < n; i++) {
        float root = (float)codes[i] * (1.0f / 255.0f), square = root * root;
        v[i] = scale * square * square;
    }
}
