"""Turns the files of the web page into a C table: embed.py OUT.c FILE...

Each entry has the file's name, its content type, its bytes, and a tag made from them for HTTP's ETag,
so that a browser asks again at each start and gets a new file only when it has changed."""
import hashlib
import os
import sys

TYPES = {'.html': 'text/html; charset=utf-8', '.css': 'text/css; charset=utf-8',
         '.js': 'text/javascript; charset=utf-8', '.svg': 'image/svg+xml'}
BYTES_A_LINE = 24


def main(out_path, paths):
    arrays, entries = [], []
    for i, path in enumerate(paths):
        with open(path, 'rb') as f:
            data = f.read()
        name = os.path.basename(path)
        kind = TYPES[os.path.splitext(name)[1]]
        tag = hashlib.sha256(data).hexdigest()[:16]
        rows = [', '.join(str(b) for b in data[j:j + BYTES_A_LINE]) for j in range(0, len(data), BYTES_A_LINE)]
        arrays.append('static const unsigned char FILE_%d[] = {\n    %s};\n' % (i, ',\n    '.join(rows)))
        entries.append('    {"%s", "%s", "\\"%s\\"", FILE_%d, sizeof FILE_%d},\n' % (name, kind, tag, i, i))
    with open(out_path, 'w') as out:
        out.write('/* Made by embed.py. */\n#include "serve/page.h"\n\n')
        out.write('\n'.join(arrays))
        out.write('\nconst hn_page_file HN_PAGE_FILES[] = {\n%s};\n' % ''.join(entries))
        out.write('const size_t HN_PAGE_N_FILES = %d;\n' % len(entries))


main(sys.argv[1], sys.argv[2:])
