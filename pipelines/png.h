/* Heat maps as PNG files, for results that are a grid.
 *
 *     QU_TRY(qu_png_heat("needle.png", share, n_rows, n_columns, err));
 *
 * A cell is QU_PNG_CELL pixels square: red for 0, yellow for a half, green for 1, grey for NaN.
 */
#ifndef QU_PIPELINES_PNG_H
#define QU_PIPELINES_PNG_H

#include <stdint.h>

#include "base/status.h"

enum { QU_PNG_CELL = 24, QU_PNG_MAX_CELLS = 512 }; /* rows and columns at most */

/* value [rows,columns], 0..1. The file is replaced whole. Errors: QU_ERR_ARG (size), QU_ERR_NOMEM,
 * those of qu_os_replace. */
qu_status qu_png_heat(const char *path, const double *value, int32_t rows, int32_t columns,
                      qu_err *err);

#endif
