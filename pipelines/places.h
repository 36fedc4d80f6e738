/* Where models lie on this machine, from the environment: what --model may name.
 *
 *     char *path;
 *     QU_TRY(qu_places_model(&path, "ollama:qwen2.5:0.5b", err));
 *     ... free(path);
 *
 *   Hugging Face  $HF_HUB_CACHE, $HF_HOME/hub, huggingface/hub in $XDG_CACHE_HOME or ~/.cache
 *   Ollama        $OLLAMA_MODELS, ~/.ollama/models, /usr/share/ollama/.ollama/models
 *   LM Studio     ~/.lmstudio/models, ~/.cache/lm-studio/models
 *
 * Of each the first that exists. Main thread.
 */
#ifndef QU_PIPELINES_PLACES_H
#define QU_PIPELINES_PLACES_H

#include "decode/find.h"

/* The file that a --model text means, malloc'ed. Errors: those of
 * qu_find_model. */
qu_status qu_places_model(char **path, const char *spec, qu_err *err);

/* Every model found. Errors: QU_ERR_NOMEM. */
qu_status qu_places_all(qu_found_list *list, qu_err *err);

/* The bundled model: beside the program in the source tree, or where `make install` puts it.
 * malloc'ed; NULL when it is not there. */
char *qu_places_bundled(void);

#endif
