/* quire index: files to pages and words, then pages to KV. */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/encode.h"
#include "pipelines/hybrid.h"
#include "pipelines/make_kv.h"
#include "pipelines/output.h"
#include "pipelines/paths.h"
#include "pipelines/signals.h"
#include "pipelines/sync.h"

/* --kv auto makes KV at once where the estimate is below this. */
#define EAGER_SECONDS 600

enum { KV_AUTO, KV_EAGER, KV_NONE };

static qu_status print_report(const qu_sync_report *r, const qu_make_kv_report *k,
                              const qu_hybrid_made *v, int64_t missing, bool dry_run, qu_err *err)
{
    if (qu_out_is_json()) {
        json_t *o = qu_out_ints(
            NULL, "added changed renamed removed unchanged skipped failed text_bytes tokens",
            (int64_t[]){r->added, r->changed, r->renamed, r->removed, r->unchanged, r->skipped,
                        r->failed, r->text_bytes, r->n_tokens});
        json_t *kv = qu_out_ints(NULL, "documents pages tokens shared failed",
                                 (int64_t[]){k->docs, k->pages, k->tokens, k->shared, k->failed});
        json_t *vectors = qu_out_ints(NULL, "documents pages", (int64_t[]){v->docs, v->pages});
        json_object_set_new(o, "stopped", json_boolean(r->stopped || k->stopped));
        json_object_set_new(o, "dry_run", json_boolean(dry_run));
        qu_out_reals(kv, "seconds", &k->seconds);
        qu_out_ints(kv, "missing_tokens over_quota evicted",
                    (int64_t[]){missing, k->over_quota, k->evicted});
        json_object_set_new(o, "kv", kv);
        json_object_set_new(o, "vectors", qu_out_reals(vectors, "seconds", &v->seconds));
        return qu_out_json(o, err);
    }
    QU_TRY(qu_out_printf(err,
                         "%s%lld added, %lld changed, %lld renamed, %lld removed, %lld unchanged, "
                         "%lld skipped, %lld failed\n",
                         dry_run ? "would be: " : "", (long long)r->added, (long long)r->changed,
                         (long long)r->renamed, (long long)r->removed, (long long)r->unchanged,
                         (long long)r->skipped, (long long)r->failed));
    if (v->docs > 0)
        QU_TRY(qu_out_printf(err, "vectors: %lld documents, %lld pages at %.0f pages/s\n",
                             (long long)v->docs, (long long)v->pages,
                             v->seconds > 0 ? (double)v->pages / v->seconds : 0));
    if (k->tokens > 0)
        QU_TRY(qu_out_printf(err, "KV: %lld documents, %lld pages, %lld tokens at %.0f tokens/s\n",
                             (long long)k->docs, (long long)k->pages, (long long)k->tokens,
                             k->seconds > 0 ? (double)k->tokens / k->seconds : 0));
    return QU_OK;
}

static void say_duration(char out[32], double seconds)
{
    if (seconds < 120)
        snprintf(out, 32, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(out, 32, "%.0f min", seconds / 60);
    else
        snprintf(out, 32, "%.1f h", seconds / 3600);
}

/* The fingerprint samples large tensors: before pages are made with this file, all of it counts. */
static qu_status check_weights(const qu_session *s, qu_err *err)
{
    const qu_store_config *c = qu_store_config_get(s->store);
    const qu_hash zero = {0};
    if (qu_hash_equal(c->full_weights, zero) ||
        qu_hash_equal(c->full_weights, qu_gguf_full_hash(s->model->gguf)))
        return QU_OK;
    return qu_fail(err, QU_ERR_MISMATCH,
                   "weights of model '%s' are not those that store '%s' was made with",
                   s->model_path, s->store_dir);
}

/* Phase two as --kv says. *missing: what has no KV afterwards. */
static qu_status phase_two(qu_session *s, const qu_args *args, double start_ms,
                           qu_make_kv_report *k, qu_make_kv_work *missing, qu_err *err)
{
    int mode = qu_args_choice(args, "kv");
    double limit = qu_args_float(args, "max-time");
    QU_TRY(qu_make_kv_trim(s, &k->evicted, err));
    QU_TRY(qu_make_kv_missing(s, missing, err));
    double estimate = missing->flops / qu_encode_speed(s);
    char text[32];
    say_duration(text, estimate);
    if (mode == KV_AUTO && limit <= 0 && estimate > EAGER_SECONDS) {
        qu_out_note("KV of %lld documents would take about %s: it is made on first use, or now by "
                    "--kv eager",
                    (long long)missing->docs, text);
        mode = KV_NONE;
    }
    if (mode == KV_NONE || missing->docs == 0) return QU_OK;
    QU_TRY(check_weights(s, err));
    double left = limit - (qu_os_now_ms() - start_ms) / 1e3;
    if (limit > 0) qu_signals_catch(left > 1e-3 ? left : 1e-3);
    QU_TRY(qu_make_kv(s, &(qu_make_kv_options){.stop = qu_signals_stop}, k, err));
    return qu_make_kv_missing(s, missing, err);
}

static void say_quota(const qu_make_kv_report *k)
{
    if (k->evicted > 0)
        qu_out_note("KV of %lld documents was removed to keep to --max-bytes",
                    (long long)k->evicted);
    if (k->over_quota > 0)
        qu_out_note("KV of %lld documents finds no room in the space for KV (--max-bytes): it is "
                    "made when a question needs it",
                    (long long)k->over_quota);
}

static qu_status set_quota(qu_session *s, const qu_args *args, qu_err *err)
{
    qu_txn *t;
    if (!qu_args_given(args, "max-bytes")) return QU_OK;
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_WRITE, err));
    return qu_txn_end(t, qu_quota_set(t, qu_args_int(args, "max-bytes"), err), err);
}

/* Which files, as the options say. */
static qu_status take_scope(const qu_args *args, qu_sync_options *o, qu_walk_rules *rules,
                            qu_err *err)
{
    const char *filters = qu_args_str(args, "filter");
    for (const char *p = o->filters = filters; p && *p; p = strchr(p, '\n') + 1) {
        size_t ending = strcspn(p, "=\n");
        if (ending == 0 || p[ending] != '=' || p[ending + 1] == '\n')
            return qu_fail(err, QU_ERR_ARG, "option '--filter' takes ENDING=COMMAND, not '%.*s'",
                           (int)strcspn(p, "\n"), p);
    }
    *rules = (qu_walk_rules){qu_args_str(args, "exclude"), qu_args_str(args, "include")};
    if (rules->exclude || rules->include) o->rules = rules;
    return QU_OK;
}

/* The same model at another place from now on. */
static qu_status note_move(qu_session *s, qu_err *err)
{
    const char *known = qu_store_config_get(s->store)->model_path;
    if (known && strcmp(known, s->model_path) == 0) return QU_OK;
    QU_TRY(check_weights(s, err));
    return qu_store_set_model(s->store, s->model_path, err);
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    const qu_args *args = s->args;
    QU_OWN(qu_roots_free) qu_roots roots = {0};
    qu_sync_report report = {0};
    qu_make_kv_report kv = {0};
    qu_hybrid_made made = {0};
    bool dry_run = qu_args_flag(args, "dry-run");
    double start = qu_os_now_ms();
    qu_make_kv_work missing = {0};
    qu_walk_rules rules;
    unsigned flags = QU_SESSION_STORE | QU_SESSION_MODEL | QU_SESSION_WRITE |
                     (dry_run || args->argc == 0 ? 0 : QU_SESSION_CREATE);
    qu_sync_options options = {
        .program = "/proc/self/exe", .dry_run = dry_run, .stop = qu_signals_stop};
    qu_signals_catch(0);
    QU_TRY(take_scope(args, &options, &rules, err));
    QU_TRY(qu_session_open(s, args, flags, qu_args_choice(args, "codec"), err));
    if (s->other_numerics)
        qu_out_warn("the store's pages were made in numerics class %s, this process is %s",
                    qu_store_config_get(s->store)->numerics, s->numerics);
    if (qu_store_config_get(s->store)->format < QU_STORE_FORMAT)
        qu_out_warn("the store has format %u, whose page summaries this program does not read: its "
                    "pages are read whole; index into a new store to choose among them",
                    qu_store_config_get(s->store)->format);
    if (!dry_run) QU_TRY(note_move(s, err));
    if (!dry_run) QU_TRY(set_quota(s, args, err));
    QU_TRY(qu_roots_collect(&roots, s, args, !dry_run, err));
    QU_TRY(qu_sync(s, (const char *const *)roots.paths, roots.n, &options, &report, err));
    if (!report.stopped && !dry_run)
        QU_TRY(qu_hybrid_make(s, qu_args_str(args, "embed-model"), qu_signals_stop, &made, err));
    report.stopped = report.stopped || made.stopped;
    if (!report.stopped && !dry_run) QU_TRY(phase_two(s, args, start, &kv, &missing, err));
    QU_TRY(print_report(&report, &kv, &made, missing.tokens, dry_run, err));
    say_quota(&kv);
    if (report.stopped || kv.stopped)
        qu_out_note("stopped before the end: run quire index again to go on%s",
                    kv.stopped ? ", finished pages are kept" : "");
    if (report.failed || kv.failed || report.stopped || kv.stopped) *code = QU_EXIT_SOME;
    return QU_OK;
}

static const qu_option options[] = {
    QU_TEXT("exclude", "GLOB", NULL,
            "leave out what matches this line of a .quireignore; remembered until --exclude or "
            "--include is given again, '' forgets", .lines = true),
    QU_TEXT("include", "GLOB", NULL, "take only files that match; remembered likewise",
            .lines = true),
    QU_STR("filter", "ENDING=COMMAND", NULL,
           "read files with this ending by a shell command: the path is $1, the file standard "
           "input, its output the text", .lines = true),
    QU_ENUM("kv", "WHEN", "auto", "auto|eager|none",
            "make KV now where it takes under 10 minutes (auto), always, or never"),
    QU_ENUM("codec", "CODEC", "f16", "f32|f16|q8|q4",
            "how a new store keeps KV; q8 takes .53 of f16, q4 .28"),
    QU_STR("embed-model", "FILE", NULL,
           "make a vector of each page with this GGUF model (BGE, MiniLM, E5); remembered"),
    QU_TIME("max-time", "TIME", NULL, "stop making KV after this long; the next run goes on there"),
    QU_SIZE("max-bytes", "SIZE|auto", NULL,
            "most disk space for KV, remembered; auto: a fifth of what is free", .choices = "auto"),
    QU_FLAG("dry-run", "report what would change and change nothing", .letter = 'n'),
};

const qu_command qu_cmd_index = {
    .name = "index",
    .args = "[PATH...]",
    .summary = "read files into the store and make their KV",
    .description =
        "Indexes files and folders and remembers them as roots; without PATH all remembered roots "
        "are brought up to date. Unchanged files cost a stat, changed ones are read again, moved "
        "ones keep their KV, and what vanished under a root is removed. A root that is gone "
        "altogether is reported and kept.\n\n"
        "What is in archives and mail is read, too, as documents named FILE!MEMBER. PDF needs "
        "pdftotext (poppler-utils). All but plain text is parsed by a child without network or "
        "writing.\n\n"
        "A file .quireignore in a folder names what is left out below it, in the language of "
        ".gitignore: a pattern a line, # for remarks, ! takes back, / at the end means folders, / "
        "elsewhere ties it to the folder, ** is any number of folders. What is left out anew is "
        "removed from the store. Filters are not remembered: a store cannot bring commands with "
        "it. A filter that fails, runs longer than two minutes or writes over 256 MiB is that "
        "file's failure.\n\n"
        "Questions can be asked as soon as the files are read. The model's KV is made afterwards, "
        "can be interrupted at any time and is resumed by the next run. It takes at most "
        "--max-bytes: then what is least worth its space goes, by how often questions read it and "
        "how long it takes to compute again. Questions about such documents are answered as "
        "before, only later.",
    .examples = "quire index docs/\nquire index  # all remembered roots\n"
                "quire index --kv eager --max-time 2h  # nightly\n"
                "quire index src/ --exclude 'build/' --include '*.[ch]' --include '*.md'\n"
                "quire index letters/ --filter 'doc=antiword \"$1\"'",
    QU_OPTIONS(options),
    .max_args = -1,
    .act = act,
};
