/* Inside the opening of a model: shared by model.c (weights), model_keys.c (what may run) and
 * model_rope.c (the frequency table). Each function fills m or refuses, naming file and subject. */
#ifndef QU_DECODE_MODEL_INT_H
#define QU_DECODE_MODEL_INT_H

#include <stdbool.h>

#include "decode/model.h"

typedef struct qu_model_reader {
    qu_model *m;
    const char *path;
    qu_model_options o;
    char arch[24];
    char key[96]; /* the last key that was asked for: "qwen2.block_count" */
    qu_err *err;
} qu_model_reader;

/* model.c, for embedding models too: tensors of a file, refused (QU_ERR_FORMAT) where their shape
 * is another. "blk.LAYER.stem.part", or "stem.part" where layer < 0; a matrix [n,k], left where it
 * is; n floats of our own, NULL where optional and absent; stem.weight [n,k] and stem.bias [n]
 * without adapter. */
const char *qu_model_tensor_name(char out[96], int32_t layer, const char *stem, const char *part);
qu_status qu_model_matrix(const qu_gguf *g, const char *name, qu_weight *w, int32_t n, int32_t k,
                           qu_err *err);
qu_status qu_model_vector(const qu_gguf *g, const char *name, float **v, int32_t n, bool optional,
                           qu_err *err);
qu_status qu_model_projection(const qu_gguf *g, qu_projection *p, int32_t layer, const char *stem,
                               int32_t n, int32_t k, bool needs_bias, qu_err *err);

/* r->key = "ARCH.name". */
const char *qu_model_key(qu_model_reader *r, const char *name);

/* A number under "ARCH.name": needed, or left alone where it is absent; within limits. */
qu_status qu_model_need_i32(qu_model_reader *r, const char *name, int32_t *v, int32_t least,
                            int32_t most);
qu_status qu_model_maybe_i32(qu_model_reader *r, const char *name, int32_t *v, int32_t least,
                             int32_t most);
qu_status qu_model_maybe_f32(qu_model_reader *r, const char *name, float *v);

/* QU_ERR_UNSUPPORTED with "cannot run model 'path': what". */
qu_status qu_model_refuse(qu_model_reader *r, const char *what);

/* model_keys.c: architecture and dimensions; refuses what Quire has no arithmetic for. */
qu_status qu_model_read_dims(qu_model_reader *r);

/* model_keys.c: refuses a tensor that the forward pass would not look at. */
qu_status qu_model_check_tensors(qu_model_reader *r);

/* model_rope.c: the frequency table and YaRN's attention factor. */
qu_status qu_model_read_rope(qu_model_reader *r);

#endif
