/* Models that other programs left on this machine, and what a user may write for one.
 *
 *     qu_find_places p = {.ollama = "/home/me/.ollama/models"};  // pipelines/ knows where
 *     char *path;
 *     QU_TRY(qu_find_model(&path, "ollama:qwen2.5:0.5b", &p, err));
 *     ... qu_model_open(&m, path, err) ...
 *     free(path);
 *
 * Only names and the small manifests are read, never the weights. Folders are walked to a fixed
 * depth and a fixed number of entries. Any thread.
 */
#ifndef QU_DECODE_FIND_H
#define QU_DECODE_FIND_H

#include <stdint.h>

#include "base/status.h"

/* Where to look; NULL = not at all. A folder that is not there is empty. */
typedef struct qu_find_places {
    const char *huggingface; /* the hub's cache: models--ORG--NAME/snapshots/HASH/FILE.gguf */
    const char *ollama;      /* manifests/HOST/SPACE/NAME/TAG and blobs/sha256-HEX */
    const char *lmstudio;    /* PUBLISHER/NAME/FILE.gguf */
} qu_find_places;

typedef struct qu_found {
    char *name;         /* what to give --model: a path, or ollama:NAME:TAG */
    char *path;         /* the file, the first part of a split model */
    const char *source; /* "huggingface", "ollama", "lmstudio": static */
    int64_t bytes;      /* of all parts */
    uint64_t device, inode;
} qu_found;

typedef struct qu_found_list {
    qu_found *items;
    int64_t n, cap;
} qu_found_list;

/* The file that spec means, malloc'ed:
 *   ollama:NAME[:TAG]   the weights of that manifest; TAG is "latest" where absent
 *   a folder            the one GGUF file in it; of a Hugging Face repository that of its "main"
 *   anything else       itself
 * Errors: QU_ERR_NOTFOUND (no such manifest, no GGUF file in the folder), QU_ERR_ARG (a name with
 * "..", several files: the message names two), QU_ERR_FORMAT (a manifest without weights),
 * QU_ERR_IO, QU_ERR_NOMEM. */
qu_status qu_find_model(char **path, const char *spec, const qu_find_places *p, qu_err *err);

/* Append every model below the places, by source and name; the same file once a source. Things
 * that cannot be read are left out. Free with qu_found_free. Errors: QU_ERR_NOMEM. */
qu_status qu_find_all(qu_found_list *list, const qu_find_places *p, qu_err *err);
void qu_found_free(qu_found_list *list);

#endif
