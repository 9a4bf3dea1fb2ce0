/* Writes .npy files. Source of the layout: NumPy's numpy.lib.format, "Format Version 1.0". */
#include "formats/npy.h"

#include "base/buf.h"
#include "base/file.h"

hn_status hn_npy_write(const char *path, const float *data, int n_dims, const uint64_t *shape,
                       hn_error *err) {
    enum { PREFIX_BYTES = 10, ALIGN = 64, MAX_HEADER_BYTES = 65535 };
    hn_buf header = {.max = MAX_HEADER_BYTES};
    hn_out out = {0};
    hn_status status = HN_OK;
    uint64_t n_bytes = sizeof *data;

    hn_buf_puts(&header, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < n_dims; i++) {
        hn_buf_printf(&header, "%llu, ", (unsigned long long)shape[i]);
        if (__builtin_mul_overflow(n_bytes, shape[i], &n_bytes)) {
            status = hn_fail(err, HN_USAGE, "%s: the array's shape overflows", path);
            goto done;
        }
    }
    hn_buf_puts(&header, "), }");
    while ((PREFIX_BYTES + header.size + 1) % ALIGN && hn_buf_putc(&header, ' '))
        continue;
    hn_buf_putc(&header, '\n');
    HN_GO(hn_buf_check(&header, err));
    HN_GO(hn_out_open(&out, path, err));
    uint8_t prefix[PREFIX_BYTES] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
    prefix[8] = (uint8_t)(header.size & 255);
    prefix[9] = (uint8_t)(header.size >> 8);
    hn_out_write(&out, prefix, sizeof prefix);
    hn_out_write(&out, header.data, header.size);
    hn_out_write(&out, data, n_bytes);
    status = hn_out_commit(&out, err);
done:
    hn_buf_done(&header);
    return status;
}
