#include "pipelines/png.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/os.h"

static void colour(uint8_t rgb[3], double x)
{
    static const uint8_t red[3] = {200, 40, 40}, yellow[3] = {240, 210, 80},
                         green[3] = {40, 150, 70};
    if (isnan(x)) {
        memset(rgb, 128, 3);
        return;
    }
    x = x < 0 ? 0 : x > 1 ? 1 : x;
    const uint8_t *a = x < .5 ? red : yellow, *b = x < .5 ? yellow : green;
    double share = x < .5 ? 2 * x : 2 * x - 1;
    for (int i = 0; i < 3; i++) rgb[i] = (uint8_t)(a[i] + (b[i] - a[i]) * share + .5);
}

static void put_u32(uint8_t *p, uint32_t x)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(x >> (24 - 8 * i));
}

/* Length, name, bytes, check sum over name and bytes. */
static qu_status add_chunk(qu_buf *out, const char *name, const uint8_t *p, size_t n, qu_err *err)
{
    uint8_t word[4];
    size_t start = out->len + 4;
    put_u32(word, (uint32_t)n);
    QU_TRY(qu_buf_add(out, word, 4, err));
    QU_TRY(qu_buf_add(out, name, 4, err));
    QU_TRY(qu_buf_add(out, p, n, err));
    put_u32(word, (uint32_t)crc32(0, (const uint8_t *)out->data + start, (uInt)(n + 4)));
    return qu_buf_add(out, word, 4, err);
}

qu_status qu_png_heat(const char *path, const double *value, int32_t rows, int32_t columns,
                      qu_err *err)
{
    if (rows < 1 || columns < 1 || rows > QU_PNG_MAX_CELLS || columns > QU_PNG_MAX_CELLS)
        return qu_fail(err, QU_ERR_ARG, "a heat map of %d x %d cells: 1 to %d are possible", rows,
                       columns, QU_PNG_MAX_CELLS);
    size_t line = 1 + (size_t)columns * QU_PNG_CELL * 3, size = line * (size_t)rows * QU_PNG_CELL;
    uLongf packed = compressBound(size);
    uint8_t head[13] = {0};
    QU_OWN(qu_freep) uint8_t *raw = calloc(1, size), *zip = malloc(packed);
    QU_OWN(qu_buf_free) qu_buf out = {0};
    if (!raw || !zip) return qu_fail_nomem(err, (long long)size);
    for (int32_t y = 0; y < rows * QU_PNG_CELL; y++) /* each line begins with filter 0 */
        for (int32_t x = 0; x < columns * QU_PNG_CELL; x++)
            colour(raw + (size_t)y * line + 1 + (size_t)x * 3,
                   value[(int64_t)(y / QU_PNG_CELL) * columns + x / QU_PNG_CELL]);
    if (compress2(zip, &packed, raw, size, 9) != Z_OK) return qu_fail_nomem(err, (long long)size);
    put_u32(head, (uint32_t)columns * QU_PNG_CELL);
    put_u32(head + 4, (uint32_t)rows * QU_PNG_CELL);
    head[8] = 8; /* bits a channel */
    head[9] = 2; /* RGB */
    QU_TRY(qu_buf_add(&out, "\x89PNG\r\n\x1a\n", 8, err));
    QU_TRY(add_chunk(&out, "IHDR", head, sizeof head, err));
    QU_TRY(add_chunk(&out, "IDAT", zip, packed, err));
    QU_TRY(add_chunk(&out, "IEND", NULL, 0, err));
    return qu_os_replace(path, out.data, out.len, 0644, err);
}
