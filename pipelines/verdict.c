#include "pipelines/verdict.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void name_of(char name[QU_STORE_MAX_NAME], const qu_session *s)
{
    char hex[33];
    qu_hash h = qu_store_config_get(s->store)->binding; /* the codec is in it */
    qu_hash_hex(hex, qu_hash_chain(h, s->numerics, strlen(s->numerics)));
    snprintf(name, QU_STORE_MAX_NAME, "verify.%s", hex);
}

static json_t *mode_json(const qu_verdict_mode *m)
{
    return json_pack("{s:b,s:I,s:f,s:f,s:f}", "passed", m->passed, "positions",
                     (json_int_t)m->positions, "agreement", m->agreement, "kl", m->kl, "same",
                     m->same);
}

static bool read_mode(qu_verdict_mode *m, json_t *o)
{
    int passed = 0;
    json_int_t n = 0;
    bool good = json_unpack(o, "{s:b,s:I,s:F,s:F,s:F}", "passed", &passed, "positions", &n,
                            "agreement", &m->agreement, "kl", &m->kl, "same", &m->same) == 0;
    m->passed = passed;
    m->positions = n;
    return good;
}

qu_status qu_verdict_load(qu_verdict *v, const qu_session *s, qu_err *err)
{
    char name[QU_STORE_MAX_NAME];
    QU_OWN(qu_buf_free) qu_buf b = {0};
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    json_int_t questions = 0, at = 0;
    *v = (qu_verdict){0};
    name_of(name, s);
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    qu_status st = qu_catalogue_get_meta(t, name, &b, err);
    if (st != QU_OK) return st == QU_ERR_NOTFOUND ? QU_OK : st;
    json_auto_t *o = json_loadb(b.data, b.len, 0, NULL);
    v->known = json_unpack(o, "{s:I,s:I}", "questions", &questions, "at_ms", &at) == 0 &&
               read_mode(&v->kv, json_object_get(o, "kv")) &&
               read_mode(&v->repair, json_object_get(o, "repair"));
    v->questions = questions;
    v->at_ms = at;
    return QU_OK;
}

qu_status qu_verdict_save(const qu_verdict *v, qu_session *s, qu_err *err)
{
    char name[QU_STORE_MAX_NAME];
    name_of(name, s);
    json_auto_t *o =
        json_pack("{s:I,s:I,s:o,s:o}", "questions", (json_int_t)v->questions, "at_ms",
                  (json_int_t)v->at_ms, "kv", mode_json(&v->kv), "repair", mode_json(&v->repair));
    QU_OWN(qu_freep) char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    return text ? qu_session_put_meta(s, name, text, strlen(text), err) : qu_fail_nomem(err, 256);
}
