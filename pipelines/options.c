#include "pipelines/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/os.h"

const qu_option qu_common_options[] = {
    QU_STR("store", "DIR", "./.quire", "the store to use", .env = "QUIRE_STORE"),
    QU_STR("model", "FILE", NULL, "the model: a GGUF file, a folder with one, or ollama:NAME[:TAG] "
           "(default: the store's, else $QUIRE_MODEL, else the bundled one)"),
    QU_STR("lora", "FILE", NULL,
           "a LoRA adapter for the model, a GGUF file; the store's pages are bound to it"),
    QU_FLOAT("rope-base", "X", NULL, 1.01, 1e30,
             "the base of the model's rotary positions (default: the file's)"),
    QU_FLOAT("rope-scale", "X", NULL, 0.01, 1000, "divide positions by X, which makes the window X "
             "times the trained one (default: the file's)"),
    QU_STR("device", "auto|cpu|cuda[:N]", "cpu", "where the model runs: on the processor, on a "
           "CUDA device, or on the first device that can"),
    QU_INT("threads", "N", NULL, 1, 1024, "threads to compute with (default: every processor)",
           .letter = 't'),
    QU_FLAG("json", "print JSON, one object a line"),
    QU_FLAG("quiet", "no progress, notes or warnings", .letter = 'q'),
    QU_FLAG("help", "show help: -h the options, --help everything", .letter = 'h'),
};
const int qu_n_common_options = sizeof qu_common_options / sizeof *qu_common_options;

typedef struct qu_value {
    bool given;
    int64_t i;         /* INT, BYTES, DURATION, FLAG; the choice's place for ENUM */
    double f;          /* FLOAT, DURATION */
    const char *s;     /* STR, ENUM */
    qu_buf lines;      /* what s is, where values are collected */
} value;

enum { SHOWN = 60 }; /* most bytes of a faulty word that a message repeats */

/* Table index: the command's options first, then the common ones. */
static int n_all(const qu_command *c) { return c->n_options + qu_n_common_options; }

static const qu_option *option_at(const qu_command *c, int i)
{
    return i < c->n_options ? &c->options[i] : &qu_common_options[i - c->n_options];
}

/* name need not end at n: "pages=32". */
static int find_long(const qu_command *c, const char *name, size_t n)
{
    for (int i = 0; i < n_all(c); i++) {
        const char *known = option_at(c, i)->name;
        if (strlen(known) == n && memcmp(known, name, n) == 0) return i;
    }
    return -1;
}

static int find_letter(const qu_command *c, char letter)
{
    for (int i = 0; i < n_all(c); i++)
        if (option_at(c, i)->letter == letter) return i;
    return -1;
}

/* Place of word in "a|b|c", or -1. */
static int choice_index(const char *choices, const char *word)
{
    size_t n = strlen(word);
    for (int k = 0; choices && n; k++) {
        const char *end = strchrnul(choices, '|');
        if ((size_t)(end - choices) == n && memcmp(choices, word, n) == 0) return k;
        choices = *end ? end + 1 : NULL;
    }
    return -1;
}

/* The whole of s[0..n) as [-][digits][.digits][e[+-]digits]; fraction false: [-]digits only. */
static bool read_number(double *out, const char *s, size_t n, bool fraction)
{
    char tmp[64];
    if (n == 0 || n >= sizeof tmp) return false;
    for (size_t i = 0; i < n; i++) {
        bool digit = s[i] >= '0' && s[i] <= '9';
        bool other = fraction && s[i] && (s[i] == '.' || (i > 0 && strchr("eE+-", s[i])));
        if (!digit && !other && !(s[i] == '-' && i == 0)) return false;
    }
    memcpy(tmp, s, n);
    tmp[n] = 0;
    const char *first = tmp + (tmp[0] == '-');
    if (!isdigit((unsigned char)tmp[n - 1]) || !isdigit((unsigned char)first[*first == '.']))
        return false;
    char *end;
    *out = strtod(tmp, &end);
    return *end == 0 && isfinite(*out);
}

/* A number with one unit letter; the result in base units. */
static bool read_scaled(double *out, const char *s, const char *letters, const double *factors)
{
    size_t n = strlen(s);
    double factor = 1;
    if (n > 1) {
        const char *at = strchr(letters, s[n - 1]);
        if (at) {
            factor = factors[at - letters];
            n--;
        }
    }
    if (!read_number(out, s, n, true) || *out < 0) return false;
    *out *= factor;
    return *out < 9e15; /* whole numbers stay exact */
}

static bool read_value(double *v, const qu_option *o, const char *s)
{
    static const double sizes[] = {1024.0, 1048576.0, 1073741824.0, 1099511627776.0};
    static const double spans[] = {1, 60, 3600, 86400};
    bool ok = o->kind == QU_OPT_BYTES      ? read_scaled(v, s, "KMGT", sizes)
              : o->kind == QU_OPT_DURATION ? read_scaled(v, s, "smhd", spans)
                                           : read_number(v, s, strlen(s), o->kind == QU_OPT_FLOAT);
    if (!ok || (o->kind == QU_OPT_INT && fabs(*v) > 9e15)) return false;
    return (o->min == 0 && o->max == 0) || (*v >= o->min && *v <= o->max);
}

/* "a whole number from 1 to 4096, or all" */
static void describe(char *out, size_t cap, const qu_option *o)
{
    static const char *const kinds[] = {
        [QU_OPT_INT] = "a whole number",
        [QU_OPT_FLOAT] = "a number",
        [QU_OPT_STR] = "text that is not empty",
        [QU_OPT_ENUM] = "",
        [QU_OPT_BYTES] = "a size such as 200M or 1G",
        [QU_OPT_DURATION] = "a time such as 30s, 10m or 2h"};
    bool number = o->kind != QU_OPT_STR && o->kind != QU_OPT_ENUM;
    qu_buf b = {0};
    qu_buf_puts(&b, kinds[o->kind], NULL);
    if (number && (o->min != 0 || o->max != 0))
        qu_buf_printf(&b, NULL, " from %.12g to %.12g%s", o->min, o->max,
                      o->kind == QU_OPT_DURATION ? " seconds"
                      : o->kind == QU_OPT_BYTES  ? " bytes"
                                                 : "");
    const char *word = o->choices;
    while (word && *word) {
        const char *end = strchrnul(word, '|');
        const char *joint = o->kind == QU_OPT_ENUM && word == o->choices ? ""
                            : *end                                       ? ", "
                                                                         : " or ";
        qu_buf_printf(&b, NULL, "%s%.*s", joint, (int)(end - word), word);
        word = *end ? end + 1 : end;
    }
    snprintf(out, cap, "%s", b.data ? b.data : "");
    qu_buf_free(&b);
}

static qu_status bad_value(const qu_option *o, const char *where, const char *s, qu_err *err)
{
    char takes[120];
    describe(takes, sizeof takes, o);
    return qu_fail(err, QU_ERR_ARG, "%s'%s%s' takes %s, not '%.*s'",
                   where[0] == '-' ? "option " : "variable ", where, where[0] == '-' ? o->name : "",
                   takes, SHOWN, s);
}

/* Read text s into *v. where: "--" for the command line, else the variable's name. */
static qu_status set_value(value *v, const qu_option *o, const char *where, const char *s,
                           qu_err *err)
{
    double number;
    int word = choice_index(o->choices, s);
    if (o->kind == QU_OPT_STR) {
        if ((double)strlen(s) < o->min) return bad_value(o, where, s, err);
        v->s = s;
    } else if (word >= 0) {
        v->s = s;
        v->i = o->kind == QU_OPT_ENUM ? word : -1 - word;
        v->f = (double)v->i;
    } else if (o->kind == QU_OPT_ENUM || !read_value(&number, o, s)) {
        return bad_value(o, where, s, err);
    } else {
        v->f = number;
        v->i = (int64_t)llround(number);
    }
    return QU_OK;
}

/* Edits (insert, delete, replace, swap neighbours) from a to b; CAP where either is too long. */
static int edits(const char *a, const char *b)
{
    enum { CAP = 40 };
    int d[CAP + 1][CAP + 1];
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n > CAP || m > CAP) return CAP;
    for (int i = 0; i <= n; i++) {
        for (int j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && d[i - 2][j - 2] + 1 < best) best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

const char *qu_options_nearest(const char *word, const char *const *candidates, int n)
{
    const char *best = NULL;
    int n_word = (int)strlen(word), limit = n_word < 3 ? 1 : n_word < 6 ? 2 : 3;
    int best_edits = limit + 1;
    for (int i = 0; i < n; i++) {
        int e = edits(word, candidates[i]);
        if (e < best_edits && e < (int)strlen(candidates[i])) {
            best_edits = e;
            best = candidates[i];
        }
    }
    return best;
}

static qu_status unknown_option(const qu_command *c, const char *arg, size_t n, qu_err *err)
{
    const char *names[64];
    int count = 0;
    char word[SHOWN + 1];
    snprintf(word, sizeof word, "%.*s", n < SHOWN ? (int)n : SHOWN, arg);
    for (int i = 0; i < n_all(c) && count < 64; i++) names[count++] = option_at(c, i)->name;
    bool is_long = word[0] == '-' && word[1] == '-';
    const char *near = qu_options_nearest(word + (is_long ? 2 : 1), names, count);
    if (near && (is_long || word[2]))
        return qu_fail(err, QU_ERR_ARG, "unknown option '%s', did you mean '--%s'", word, near);
    return qu_fail(err, QU_ERR_ARG, "unknown option '%s'", word);
}

typedef struct parser {
    qu_args *args;
    int argc, at; /* argv[at] is the next word */
    char **argv;
} parser;

/* One option met; inline_value is what followed '=' or the letter, or NULL. */
static qu_status take(parser *p, int i, const char *inline_value, qu_err *err)
{
    const qu_option *o = option_at(p->args->command, i);
    value *v = &p->args->values[i];
    v->given = true;
    if (o->kind == QU_OPT_FLAG) {
        if (inline_value) return qu_fail(err, QU_ERR_ARG, "option '--%s' takes no value", o->name);
        v->i = 1;
        return QU_OK;
    }
    if (!inline_value && p->at >= p->argc)
        return qu_fail(err, QU_ERR_ARG, "option '--%s' needs a value: %s", o->name, o->arg);
    QU_TRY(set_value(v, o, "--", inline_value ? inline_value : p->argv[p->at++], err));
    if (!o->lines) return QU_OK;
    QU_TRY(qu_buf_printf(&v->lines, err, "%s\n", v->s));
    v->s = v->lines.data;
    return QU_OK;
}

static qu_status take_letters(parser *p, const char *word, qu_err *err)
{
    const qu_command *c = p->args->command;
    for (const char *l = word + 1; *l; l++) {
        int i = find_letter(c, *l);
        if (i < 0) return unknown_option(c, word, strlen(word), err);
        if (option_at(c, i)->kind != QU_OPT_FLAG) return take(p, i, l[1] ? l + 1 : NULL, err);
        QU_TRY(take(p, i, NULL, err));
    }
    return QU_OK;
}

/* Values that were not given: from the environment, else the default. */
static qu_status fill_absent(qu_args *args, qu_err *err)
{
    for (int i = 0; i < n_all(args->command); i++) {
        const qu_option *o = option_at(args->command, i);
        value *v = &args->values[i];
        if (v->given || o->kind == QU_OPT_FLAG) continue;
        if (o->kind == QU_OPT_ENUM) v->i = -1;
        const char *env = o->env ? getenv(o->env) : NULL;
        if (env && *env) {
            QU_TRY(set_value(v, o, o->env, env, err));
        } else if (o->dflt) {
            qu_status st = set_value(v, o, "--", o->dflt, err);
            assert(st != QU_ERR_ARG && "a default must be a valid value");
            if (st != QU_OK) return st;
        }
    }
    return QU_OK;
}

static qu_status check_count(const qu_args *args, qu_err *err)
{
    const qu_command *c = args->command;
    if (args->argc < c->min_args)
        return qu_fail(err, QU_ERR_ARG, "missing argument: %s takes %s", c->name, c->args);
    if (c->max_args >= 0 && args->argc > c->max_args)
        return qu_fail(err, QU_ERR_ARG, "unexpected argument '%.*s': %s takes %s", SHOWN,
                       args->argv[c->max_args], c->name, c->args ? c->args : "no arguments");
    return QU_OK;
}

qu_status qu_args_parse(qu_args *args, const qu_command *command, int argc, char **argv,
                        qu_err *err)
{
    parser p = {args, argc, 0, argv};
    qu_status st = QU_OK;
    bool options = true;
    memset(args, 0, sizeof *args);
    args->command = command;
    QU_TRY_OUT(qu_memory_take(&args->argv, argc + 1, sizeof *args->argv, err));
    QU_TRY_OUT(qu_memory_take(&args->values, n_all(command), sizeof *args->values, err));
    while (p.at < argc) {
        char *word = argv[p.at++];
        if (!options || word[0] != '-' || word[1] == 0) {
            args->argv[args->argc++] = word;
        } else if (word[1] != '-') {
            QU_TRY_OUT(take_letters(&p, word, err));
        } else if (word[2] == 0) {
            options = false;
        } else {
            const char *eq = strchrnul(word, '=');
            int i = find_long(command, word + 2, (size_t)(eq - word) - 2);
            if (i < 0) {
                st = unknown_option(command, word, (size_t)(eq - word), err);
                goto out;
            }
            QU_TRY_OUT(take(&p, i, *eq ? eq + 1 : NULL, err));
        }
        if (qu_args_flag(args, "help")) return QU_OK;
    }
    QU_TRY_OUT(fill_absent(args, err));
    QU_TRY_OUT(check_count(args, err));
out:
    if (st != QU_OK) qu_args_free(args);
    return st;
}

void qu_args_free(qu_args *args)
{
    for (int i = 0; args->values && i < n_all(args->command); i++)
        qu_buf_free(&args->values[i].lines);
    free(args->values);
    free(args->argv);
    memset(args, 0, sizeof *args);
}

static const value *get(const qu_args *args, const char *name, unsigned kinds)
{
    int i = find_long(args->command, name, strlen(name));
    assert(i >= 0 && "no such option in the table");
    assert((kinds >> option_at(args->command, i)->kind & 1) && "option read as another kind");
    (void)kinds;
    return &args->values[i];
}

#define KIND(k) (1u << QU_OPT_##k)

bool qu_args_flag(const qu_args *args, const char *name)
{
    return get(args, name, KIND(FLAG))->i != 0;
}

int64_t qu_args_int(const qu_args *args, const char *name)
{
    return get(args, name, KIND(INT) | KIND(BYTES) | KIND(DURATION))->i;
}

double qu_args_float(const qu_args *args, const char *name)
{
    return get(args, name, KIND(FLOAT) | KIND(DURATION))->f;
}

const char *qu_args_str(const qu_args *args, const char *name)
{
    return get(args, name, KIND(STR) | KIND(ENUM))->s;
}

int qu_args_choice(const qu_args *args, const char *name)
{
    return (int)get(args, name, KIND(ENUM))->i;
}

bool qu_args_given(const qu_args *args, const char *name) { return get(args, name, ~0u)->given; }

int qu_args_threads(const qu_args *args)
{
    int64_t n = qu_args_int(args, "threads");
    return n > 0 ? (int)n : qu_os_n_cpus();
}
