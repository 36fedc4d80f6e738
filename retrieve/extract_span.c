/* Spans by rules: runs of tokens of a kind, scored by kind and by how near the question's words
 * they stand. The weights of phrases were fitted on half of XQuAD-en's articles (a softmax over a
 * sentence's phrases), those that the other half did not need left out, and rounded. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index/words.h"
#include "retrieve/extract_int.h"

enum {
    MAX_TOKENS = 512, /* of a sentence */
    LINE = 3,         /* tokens that the end of a line is like, between two words */
    MAX_SPAN = 8,     /* tokens of a span */
    NOUN_AHEAD = 4,   /* words after what or which among which its noun is looked for, and tokens
                       * between it and an answer */
};

static const float NEAR = 3.0f;     /* question words, by their rarity and how near they are */
static const float NOUN = 1.8f;     /* what follows "which" or "how many", likewise */
static const float NAMED = 1.5f;    /* all words are capitals ... */
static const float PERSON = 1.0f;   /* ... where a name is asked for; taken off where none is */
static const float CUT_NAME = 1.2f; /* taken off where a name goes on at either side */
static const float WHOLE = 0.9f;    /* no word goes on behind it */
static const float ONE_WORD = 1.0f; /* taken off */
static const float BEHIND = 1.0f;   /* a name behind "by", a place behind "in" */
static const float YEAR = 1.0f;     /* a date that ends in one; taken off a lone number */

typedef enum flag {
    FUNCTION = 1, /* the, of, was ... */
    CAPITAL = 2,
    DIGITS = 4,
    NUMBER_WORD = 8, /* two, dozen, million */
    DATE_WORD = 16,  /* May, Monday, century, noon */
    ASKED = 32,      /* a word of the question */
    JOINED = 64,     /* nothing but a space or hyphen between it and the token before */
    TIGHT = 128,     /* not even a space: "2.5", "well-known" */
    WIDE = 256,      /* a word of a script without spaces */
    ASKED_NOUN = 512, /* the question's word behind "which" or "how many" */
} flag;

typedef struct token {
    int64_t start, end;
    unsigned flags;
    float near_left, near_right; /* question words before it, from it on as seen from the token
                                   * before: rarity over distance */
} token;

/* ---- word lists ---- */

static const char function_words[] =
    " a about after all along also although am among an and any are around as at be because "
    "been before being between both but by can could did do does during each either every for "
    "from had has have having he her here him his how however i if in into is it its like many "
    "may me might more most much must my near no nor not of on once one's only onto or other "
    "our out over per s she should since so some such than that the their them then there "
    "these they this those through to too toward towards under until up upon us very via was "
    "we were what when where whether which while who whom whose why will with within without "
    "would you your ";
static const char number_words[] =
    " billion dozen eight eighteen eighty eleven fifteen fifty five forty four fourteen half "
    "hundred million nine nineteen ninety one seven seventeen seventy six sixteen sixty ten "
    "thirteen thirty thousand three trillion twelve twenty twice two zero ";
static const char date_words[] =
    " ad am april august autumn bc bce ce centuries century december february friday january "
    "july june march midnight monday morning noon november october pm saturday september "
    "spring summer sunday thursday tuesday wednesday winter ";
/* Nouns after what or which that tell the kind. */
static const char date_nouns[] = " century date day decade hour month time weekday year ";
static const char amount_nouns[] =
    " age amount budget capacity cost count depth distance duration fee fraction height income "
    "length limit number percent percentage population port portion pressure price profit "
    "proportion rate revenue salary sales size speed temperature timeout weight width ";
static const char place_nouns[] =
    " area building city continent country county harbour island lake nation place province "
    "region river room state street town village ";
static const char name_nouns[] =
    " actor architect artist author band character company composer director emperor engineer "
    "family group king league man name network organization person philosopher player "
    "president queen school scientist singer team university woman writer ";
/* Function words that may stand inside of a phrase. */
static const char place_words[] = " at in inside near on ";
static const char inner_words[] = " and de for of the ";
/* Words after how that ask for a number with a unit. */
static const char amount_adverbs[] =
    " big deep far fast heavy high hot large late long much often old quickly soon tall thick warm "
    "wide ";
/* Is word (shorter than 16 bytes) one of the list's? */
static bool listed(const char *word, const char *list)
{
    char key[20];
    snprintf(key, sizeof key, " %s ", word);
    return strstr(list, key) != NULL;
}

/* Lower-case ASCII copy of [start, end) of text, "" when it is too long for any list. */
static void lower(char out[16], const char *text, int64_t start, int64_t end)
{
    int64_t n = end - start < 16 ? end - start : 0;
    for (int64_t i = 0; i < n; i++) {
        char c = text[start + i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    out[n] = 0;
}

/* ---- questions ---- */

/* The kind that words[0] and the words after it ask for; QU_WANT_SENTENCE if they tell nothing. */
static qu_want want_of(char words[][16])
{
    const char *word = words[0], *next = words[1];
    if (!strcmp(word, "who") || !strcmp(word, "whom") || !strcmp(word, "whose"))
        return QU_WANT_NAME;
    if (!strcmp(word, "where")) return QU_WANT_PLACE;
    if (!strcmp(word, "when")) return QU_WANT_DATE;
    if (!strcmp(word, "how") && !strcmp(next, "many")) return QU_WANT_COUNT;
    if (!strcmp(word, "how") && listed(next, amount_adverbs)) return QU_WANT_AMOUNT;
    if (strcmp(word, "what") != 0 && strcmp(word, "which") != 0) return QU_WANT_SENTENCE;
    if (!strcmp(next, "happens") || !strcmp(next, "happened")) return QU_WANT_SENTENCE;
    for (int i = 1, tried = 0; i <= NOUN_AHEAD && tried < 2; i++) { /* what is the usual price */
        next = words[i];
        if (listed(next, function_words)) continue;
        tried++;
        if (listed(next, date_nouns)) return QU_WANT_DATE;
        if (listed(next, amount_nouns)) return QU_WANT_AMOUNT;
        if (listed(next, place_nouns)) return QU_WANT_PLACE;
        if (listed(next, name_nouns)) return QU_WANT_NAME;
    }
    return QU_WANT_ANY;
}

static void add_question_word(qu_extract_question *q, uint64_t hash)
{
    for (int32_t i = 0; i < q->n_words; i++)
        if (q->words[i] == hash) return;
    if (q->n_words == QU_EXTRACT_WORDS) return;
    q->weights[q->n_words] = 1;
    q->words[q->n_words++] = hash;
}

void qu_extract_question_read(qu_extract_question *q, const char *text, size_t n)
{
    char first[QU_EXTRACT_WORDS + NOUN_AHEAD][16] = {""}; /* its first words, then empty ones */
    uint64_t hashes[QU_EXTRACT_WORDS + NOUN_AHEAD] = {0};
    int n_first = 0;
    qu_words it;
    qu_word w;
    *q = (qu_extract_question){.want = QU_WANT_SENTENCE};
    qu_words_init(&it, text, n);
    while (qu_words_next(&it, &w)) {
        char word[16];
        lower(word, text, (int64_t)w.start, (int64_t)w.end);
        if (!listed(word, function_words)) add_question_word(q, w.hash);
        hashes[n_first] = w.hash;
        if (n_first < QU_EXTRACT_WORDS) memcpy(first[n_first++], word, sizeof word);
    }
    for (int i = 0; i < n_first && q->want == QU_WANT_SENTENCE; i++) {
        q->want = want_of(&first[i]);
        q->noun = hashes[i + (q->want == QU_WANT_COUNT ? 2 : 1)];
    }
    const char *last = n_first ? first[n_first - 1] : "";
    if (q->want == QU_WANT_ANY && (!strcmp(last, "do") || !strcmp(last, "mean")))
        q->want = QU_WANT_SENTENCE; /* what does it do */
    if (q->n_words == 0) {
        qu_words_init(&it, text, n);
        while (qu_words_next(&it, &w)) add_question_word(q, w.hash);
    }
    if (q->n_words > 0) qsort(q->words, (size_t)q->n_words, sizeof *q->words, qu_words_by_hash);
}

int32_t qu_extract_question_word(const qu_extract_question *q, uint64_t hash)
{
    const uint64_t *at =
        bsearch(&hash, q->words, (size_t)q->n_words, sizeof hash, qu_words_by_hash);
    return at ? (int32_t)(at - q->words) : -1;
}

/* ---- sentences ---- */

static unsigned word_flags(const char *s, int64_t start, int64_t end)
{
    char word[16];
    unsigned flags = 0;
    unsigned char c = (unsigned char)s[start];
    lower(word, s, start, end);
    if (listed(word, function_words)) flags |= FUNCTION;
    if (listed(word, number_words)) flags |= NUMBER_WORD;
    if (listed(word, date_words)) flags |= DATE_WORD;
    if (c >= 'A' && c <= 'Z') flags |= CAPITAL;
    if ((flags & CAPITAL) && !strcmp(word, "may")) flags = CAPITAL | DATE_WORD;
    if (c == 0xc3 && end - start > 1 && (unsigned char)s[start + 1] < 0x9f)
        flags |= CAPITAL;    /* A..Y, accented */
    size_t n = strlen(word); /* verbs and adverbs end a noun run and are no answers */
    if (n > 3 && c >= 'a' && word[n - 3] != 'e' &&
        (!strcmp(word + n - 2, "ed") || !strcmp(word + n - 2, "ly")))
        flags |= FUNCTION;
    if (c >= 0xe0)
        flags |= WIDE; /* three bytes and more: hardly Latin; whole words are no spans there */
    for (int64_t i = start; i < end; i++)
        if (isdigit((unsigned char)s[i])) flags |= DIGITS;
    return flags;
}

/* How token [start, ...) hangs on the one that ends at `before`. */
static unsigned gap_flags(const char *s, int64_t before, int64_t start, bool digits)
{
    int64_t n = start - before;
    if (n == 1 && s[before] == ' ') return JOINED;
    if (n == 1 && strchr("-'/&", s[before])) return JOINED | TIGHT;
    if (n == 1 && digits && strchr(".,:", s[before]) && isdigit((unsigned char)s[before - 1]))
        return JOINED | TIGHT;
    if (n == 2 && s[before] == '.' && s[before + 1] == ' ' && before >= 2 &&
        isupper((unsigned char)s[before - 1]))
        return JOINED; /* an initial */
    if (n == 3 && (unsigned char)s[before] == 0xe2 &&
        (unsigned char)s[before + 1] == 0x80) /* dashes, quote */
        return JOINED | TIGHT;
    return 0;
}

static int32_t cut_tokens(const qu_extract_question *q, const char *s, int64_t n, token *out)
{
    float weights[MAX_TOKENS];
    int32_t k = 0, place[MAX_TOKENS];
    qu_words it;
    qu_word w;
    qu_words_init(&it, s, (size_t)n);
    while (k < MAX_TOKENS && qu_words_next(&it, &w)) {
        token *t = &out[k];
        *t = (token){.start = (int64_t)w.start,
                     .end = (int64_t)w.end,
                     .flags = word_flags(s, (int64_t)w.start, (int64_t)w.end)};
        int32_t asked = qu_extract_question_word(q, w.hash);
        weights[k] = asked < 0 ? 0 : q->weights[asked];
        if (asked >= 0) t->flags |= w.hash == q->noun ? ASKED | ASKED_NOUN : ASKED;
        if (k > 0 && t->start > t[-1].end)
            t->flags |= gap_flags(s, t[-1].end, t->start, (t->flags & DIGITS) != 0);
        place[k] = k > 0 ? place[k - 1] + 1 : 0;
        for (int64_t i = k > 0 ? t[-1].end : t->start; i < t->start; i++)
            if (s[i] == '\n') place[k] += LINE;
        k++;
    }
    for (int32_t j = 0; j < k; j++)
        for (int32_t i = 1; i < k && weights[j] > 0; i++)
            if (j < i) out[i].near_left += weights[j] / (float)(2 + place[i] - place[j]);
            else out[i].near_right += weights[j] / (float)(2 + place[j] - place[i - 1]);
    return k;
}

/* ---- candidates ---- */

typedef struct span {
    int32_t from, to; /* tokens, half-open */
    bool fits;
} span;

/* Flags of the tokens that numbers and dates are made of. */
enum { NUMBER = DIGITS | NUMBER_WORD, DATE = DIGITS | DATE_WORD };

static bool is_part(const token *t, unsigned kinds)
{
    return (t->flags & kinds) && !(t->flags & ASKED);
}

/* Behind the numbers, or parts of a date, from token i on that are joined to each other: "1,190",
 * "two million", "2.5"; "12 May 1902", "May 18, 2018", "9:30 am". i itself if it is none, or not
 * the first. */
static int32_t run_end(const char *s, const token *t, int32_t n, int32_t i, unsigned kinds)
{
    int32_t e = i;
    if (i > 0 && (t[i].flags & JOINED) && is_part(&t[i - 1], kinds)) return i;
    while (e < n && is_part(&t[e], kinds) &&
           (e == i || (t[e].flags & JOINED) ||
            (kinds == DATE && t[e].start - t[e - 1].end == 2 && s[t[e - 1].end] == ',')))
        e++;
    return e;
}

static bool year(const char *s, const token *t)
{
    int64_t n = t->end - t->start;
    return (t->flags & DIGITS) && (n == 4 || (n == 5 && s[t->end - 1] == 's')) &&
           (s[t->start] == '1' || s[t->start] == '2') && isdigit((unsigned char)s[t->start + 3]);
}

static bool content(const token *t)
{
    return !(t->flags & (FUNCTION | WIDE));
}

/* The number or date that begins at token i, if one does that is asked for. */
static bool number_at(const qu_extract_question *q, const char *s, const token *t, int32_t n,
                      int32_t i, span *out)
{
    int32_t e = run_end(s, t, n, i, q->want == QU_WANT_DATE ? DATE : NUMBER);
    *out = (span){i, e, true};
    if (e == i || q->want != QU_WANT_AMOUNT) return e > i;
    bool unit = e < n && content(&t[e]) && !(t[e].flags & ASKED) && (t[e].flags & JOINED);
    out->to += unit;
    return unit || (t[i].flags & DIGITS); /* not "the one" */
}

/* Do tokens [i, e) hang together as a phrase that says more than the question? more: may a longer
 * one from i on do so? */
static bool phrase_at(const char *s, const token *t, int32_t n, int32_t i, int32_t e, bool *more)
{
    const token *last = &t[e - 1];
    char word[16];
    bool new_word = false;
    *more = false;
    if (!content(&t[i]) || (t[i].flags & TIGHT) || e - i > MAX_SPAN) return false;
    if (e - 1 > i && !(last->flags & JOINED)) return false;
    lower(word, s, last->start, last->end);
    *more = content(last) || ((last->flags & FUNCTION) && listed(word, inner_words));
    if (!content(last) || (e < n && (t[e].flags & TIGHT))) return false;
    for (int32_t k = i; k < e; k++) new_word |= !(t[k].flags & (FUNCTION | ASKED));
    return new_word;
}

/* What question words that stand near are worth, and the asked noun. */
static float nearness(const token *t, int32_t n, const span *p)
{
    float noun = 0;
    for (int32_t k = p->from > NOUN_AHEAD ? p->from - NOUN_AHEAD : 0;
         k < n && k < p->to + NOUN_AHEAD; k++) {
        int32_t apart = k < p->from ? p->from - k : k >= p->to ? k - p->to + 1 : 0;
        if ((t[k].flags & ASKED_NOUN) && 1.0f / (float)(1 + apart) > noun)
            noun = 1.0f / (float)(1 + apart);
    }
    float right = p->to < n ? t[p->to].near_right : 0;
    return NEAR * (t[p->from].near_left + right) + NOUN * noun;
}

static float score_number(const qu_extract_question *q, const char *s, const token *t, int32_t n,
                          const span *p)
{
    float score = nearness(t, n, p);
    if (!year(s, &t[p->to - 1])) return score;
    if (q->want == QU_WANT_DATE) return score + YEAR;
    return p->to - p->from == 1 ? score - YEAR : score;
}

/* Also says whether it is what is asked for: a phrase without a capital is no name. */
static float score_phrase(const qu_extract_question *q, const char *s, const token *t, int32_t n,
                          span *p)
{
    const token *first = &t[p->from], *last = &t[p->to - 1];
    float score = nearness(t, n, p);
    bool ends = p->to == n || !(t[p->to].flags & JOINED);
    int32_t words = 0, capitals = 0;
    for (int32_t k = p->from; k < p->to; k++) {
        words += !(t[k].flags & FUNCTION);
        capitals += (t[k].flags & (FUNCTION | CAPITAL | DATE_WORD)) == CAPITAL;
    }
    p->fits = q->want == QU_WANT_ANY || capitals > 0;
    if (capitals == words) score += NAMED;
    if (q->want == QU_WANT_NAME && capitals == words) score += PERSON;
    if (q->want == QU_WANT_NAME && capitals == 0) score -= PERSON;
    if (p->from > 0 && (first->flags & JOINED) && (first->flags & first[-1].flags & CAPITAL))
        score -= CUT_NAME;
    if (!ends && (last->flags & last[1].flags & CAPITAL)) score -= CUT_NAME;
    if (ends) score += WHOLE;
    if (words == 1) score -= ONE_WORD;
    if (q->want != QU_WANT_ANY && p->from > 0) {
        char before[16];
        const token *b = first - 1;
        lower(before, s, b->start, b->end);
        if (!strcmp(before, "the") && p->from > 1) lower(before, s, b[-1].start, b[-1].end);
        if (q->want == QU_WANT_NAME ? !strcmp(before, "by") : listed(before, place_words))
            score += BEHIND;
    }
    return score;
}

/* Take in what belongs to a number: a currency sign before it, a per cent sign after it. */
static void widen(const char *s, int64_t n, int64_t *start, int64_t *end)
{
    /* pound, yen, euro */
    static const char *const signs[] = {"$", "\xc2\xa3", "\xc2\xa5", "\xe2\x82\xac"};
    for (int i = 0; i < 4; i++) {
        int64_t len = (int64_t)strlen(signs[i]);
        if (*start >= len && !memcmp(s + *start - len, signs[i], (size_t)len)) *start -= len;
    }
    if (*end < n && s[*end] == '%') ++*end;
}

bool qu_extract_span(const qu_extract_question *q, const char *sentence, int64_t n, int64_t *start,
                     int64_t *end)
{
    token t[MAX_TOKENS];
    int32_t k = cut_tokens(q, sentence, n, t);
    bool numbers = q->want >= QU_WANT_DATE;
    float best = 0, score;
    span chosen = {0}, p;
    *start = 0;
    *end = n;
    for (int32_t i = 0; i < k; i++) {
        bool more = !numbers;
        for (int32_t e = i + 1; e == i + 1 || (more && e <= k); e++) {
            p = (span){i, e, false};
            if (numbers ? !number_at(q, sentence, t, k, i, &p)
                        : !phrase_at(sentence, t, k, i, e, &more))
                continue;
            score = numbers ? score_number(q, sentence, t, k, &p)
                            : score_phrase(q, sentence, t, k, &p);
            if (chosen.to > 0 && score <= best) continue;
            best = score;
            chosen = p;
        }
    }
    if (chosen.to == 0 || q->want == QU_WANT_SENTENCE) return chosen.to > 0;
    *start = t[chosen.from].start;
    *end = t[chosen.to - 1].end;
    if (t[chosen.from].flags & DIGITS || t[chosen.to - 1].flags & DIGITS)
        widen(sentence, n, start, end);
    return chosen.fits;
}
