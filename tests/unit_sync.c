/* Indexing: the catalogue follows the files on disk, KV follows the catalogue, whatever interrupts
 * it. */
#include "tests/pipeline_testing.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "kernels/codec.h"
#include "store/gc.h"

static const char question[] = "what follows badar?";
static px_session p;

/* An empty folder of documents and no store. */
static const char *fresh_docs(void)
{
    static char docs[400];
    snprintf(docs, sizeof docs, "%s", px_path("docs"));
    px_shell("chmod -R u+rwx '%s' 2>/dev/null; rm -rf '%s' '%s'; mkdir '%s'", docs, docs,
             px_path("store"), docs);
    return docs;
}

static void assert_report(const qu_sync_report *r, int added, int changed, int renamed, int removed,
                          int unchanged)
{
    if (r->added != added || r->changed != changed || r->renamed != renamed ||
        r->removed != removed || r->unchanged != unchanged)
        fail_msg("%lld added, %lld changed, %lld renamed, %lld removed, %lld unchanged",
                 (long long)r->added, (long long)r->changed, (long long)r->renamed,
                 (long long)r->removed, (long long)r->unchanged);
}

static void write_three(void)
{
    px_write(px_path("docs/a.md"), "Houses", "badar cefen digol fohux", 30, 1);
    px_write(px_path("docs/b.md"), "Rivers", "bamel cipim dogos fuvut", 20, 2);
    px_write(px_path("docs/c.md"), "Hills", "nothing here", 9, 3);
}

static void assert_answer(const char *want)
{
    char text[200];
    px_ask(&p, QU_FIDELITY_KV, 8, question, text, NULL, NULL);
    assert_string_equal(text, want);
}

/* --- KV --- */

static void identical_files_share_kv(void **state)
{
    (void)state;
    qu_doc a, b;
    const char *docs = fresh_docs();
    px_write(px_path("docs/a.md"), "Houses", "badar cefen digol fohux", 30, 1);
    px_write(px_path("docs/b.md"), "Houses", "badar cefen digol fohux", 30, 1);
    px_open_write(&p, "store", "copy.gguf");
    px_sync(&p, docs);
    qu_make_kv_report r = px_make_kv(&p, -1);
    assert_int_equal(r.docs, 1);
    assert_int_equal(r.shared, 1);
    px_write(px_path("docs/c.md"), "Houses", "badar cefen digol fohux", 30,
             1); /* after publishing */
    px_sync(&p, docs); /* shares at once what is there */
    r = px_make_kv(&p, -1);
    assert_int_equal(r.docs + r.shared + r.tokens, 0);
    assert_true(px_doc(&p, px_path("docs/a.md"), &a) && px_doc(&p, px_path("docs/c.md"), &b));
    assert_int_equal(a.kv_id, b.kv_id);
    assert_int_equal(a.kv_file, b.kv_file);
    qu_doc_free(&a);
    qu_doc_free(&b);
    px_assert_clean(&p);
    /* the one that was encoded goes, the others still answer from its slices */
    unlink(px_path("docs/a.md"));
    qu_sync_report s = px_sync(&p, docs);
    assert_report(&s, 0, 0, 0, 1, 2);
    assert_int_equal(px_make_kv(&p, -1).tokens, 0);
    assert_answer("cefen digol fohux");
    px_assert_clean(&p);
    unlink(px_path("docs/b.md"));
    unlink(px_path("docs/c.md"));
    px_sync(&p, docs);
    assert_int_equal(px_counts(&p).n_kv_files, 0);
    px_assert_clean(&p);
    px_close(&p);
}

/* Same bytes, another title (taken from elsewhere), or one letter apart: no sharing. */
static void different_texts_do_not_share(void **state)
{
    (void)state;
    const char *docs = fresh_docs();
    px_write(px_path("docs/a.md"), "Houses", "badar cefen digol fohux", 30, 1);
    px_write(px_path("docs/b.md"), "Mouses", "badar cefen digol fohux", 30, 1);
    px_write(px_path("docs/c.md"), "Houses", "badar cefen digol fuvut", 30, 1);
    px_open_write(&p, "store", "w1024.gguf");
    px_sync(&p, docs);
    qu_make_kv_report r = px_make_kv(&p, -1);
    assert_int_equal(r.docs, 3);
    assert_int_equal(r.shared, 0);
    px_assert_clean(&p);
    px_close(&p);
}

static void a_rename_costs_nothing(void **state)
{
    (void)state;
    qu_doc before, after;
    const char *docs = fresh_docs();
    write_three();
    px_open_write(&p, "store", "copy.gguf");
    px_sync(&p, docs);
    assert_int_equal(px_make_kv(&p, -1).docs, 3);
    assert_true(px_doc(&p, px_path("docs/a.md"), &before));
    px_shell("mkdir %s; mv %s %s", px_path("docs/sub"), px_path("docs/a.md"),
             px_path("docs/sub/z.md"));
    qu_sync_report s = px_sync(&p, docs);
    assert_report(&s, 0, 0, 1, 0, 2);
    qu_make_kv_report r = px_make_kv(&p, -1);
    assert_int_equal(r.tokens + r.docs + r.shared, 0);
    assert_false(px_doc(&p, px_path("docs/a.md"), &after));
    assert_true(px_doc(&p, px_path("docs/sub/z.md"), &after));
    assert_int_equal(after.doc_id, before.doc_id);
    assert_answer("cefen digol fohux");
    px_assert_clean(&p);
    qu_doc_free(&before);
    qu_doc_free(&after);
    s = px_sync(&p, docs);
    assert_report(&s, 0, 0, 0, 0, 3);
    px_close(&p);
}

static void an_edit_replaces_the_document(void **state)
{
    (void)state;
    qu_doc before, after;
    const char *docs = fresh_docs();
    write_three();
    px_open_write(&p, "store", "copy.gguf");
    px_sync(&p, docs);
    px_make_kv(&p, -1);
    assert_answer("cefen digol fohux");
    assert_true(px_hits(&p, "cefen") > 0);
    assert_true(px_doc(&p, px_path("docs/a.md"), &before));
    px_write(px_path("docs/a.md"), "Houses", "badar gukev hamip jenar", 31, 1);
    qu_sync_report s = px_sync(&p, docs);
    assert_report(&s, 0, 1, 0, 0, 2);
    assert_int_equal(px_hits(&p, "cefen"), 0);
    assert_true(px_hits(&p, "badar") > 0);
    assert_true(px_doc(&p, px_path("docs/a.md"), &after));
    assert_true(after.doc_id > before.doc_id);
    assert_in_range(after.kv_pages, 1, after.n_pages - 1); /* what is before the change */
    qu_make_kv_report r = px_make_kv(&p, -1);
    assert_int_equal(r.docs, 1);
    assert_int_equal(r.pages, after.n_pages - after.kv_pages);
    assert_true(r.tokens < after.n_tokens);
    assert_answer("gukev hamip jenar");
    px_assert_clean(&p);
    unlink(px_path("docs/a.md"));
    px_sync(&p, docs);
    assert_int_equal(px_hits(&p, "badar"), 0);
    px_assert_clean(&p);
    qu_doc_free(&before);
    qu_doc_free(&after);
    px_close(&p);
}

/* Edits at every line: prefilled from the first page that differs, with the bits of a store that
 * never knew another version; also when gc came between, when the kept KV is gone, and one edit
 * after another. */
static void an_edit_costs_what_follows_it(void **state)
{
    (void)state;
    qu_doc before, after;
    qu_buf want = {0}, got = {0};
    for (int line = 0; line < 12; line += 3) {
        const char *docs = fresh_docs();
        write_three();
        px_write(px_path("docs/a.md"), "Houses", "badar cefen digol fohux", 12, 11);
        px_open_write(&p, "store", "w1024.gguf");
        px_sync(&p, docs);
        px_make_kv(&p, -1);
        px_write(px_path("docs/a.md"), "Houses", "badar cefen digol fohux", 12, line + 1);
        px_sync(&p, docs);
        if (line == 6) TEST_OK(qu_store_gc(p.s.store, NULL, err));
        if (line == 3) { /* again, before KV was made of this version */
            px_write(px_path("docs/a.md"), "Houses", "badar cefen digol fohux", 12, line + 2);
            px_sync(&p, docs);
        }
        px_assert_clean(&p);
        assert_true(px_doc(&p, px_path("docs/a.md"), &before));
        if (line == 9)
            px_shell("rm %s", px_path("store/kv/%llu.kv", (unsigned long long)before.kv_file));
        qu_make_kv_report r = px_make_kv(&p, -1);
        assert_int_equal(r.docs, 1);
        assert_int_equal(r.pages, before.n_pages - (line == 9 ? 0 : before.kv_pages));
        print_message("line %d: %d of %d pages kept\n", line, before.kv_pages, before.n_pages);
        assert_true(px_doc(&p, px_path("docs/a.md"), &after));
        got.len = want.len = 0;
        px_slices(&p, &after, &got);
        if (line != 9) px_assert_clean(&p); /* else others in that file lost theirs */
        px_close(&p);
        qu_doc_free(&before);
        qu_doc_free(&after);
        px_open_write(&p, "clean", "w1024.gguf");
        px_sync(&p, docs);
        px_make_kv(&p, -1);
        assert_true(px_doc(&p, px_path("docs/a.md"), &after));
        px_slices(&p, &after, &want);
        qu_doc_free(&after);
        px_close(&p);
        px_shell("rm -rf %s", px_path("clean"));
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.data, want.data, got.len);
    }
    qu_buf_free(&want);
    qu_buf_free(&got);
}

/* All slices of the three documents in turn. */
static void all_slices(qu_buf *b)
{
    for (char c = 'a'; c <= 'c'; c++) {
        qu_doc d;
        assert_true(px_doc(&p, px_path("docs/%c.md", c), &d));
        px_slices(&p, &d, b);
        qu_doc_free(&d);
    }
}

static void interrupted_kv_is_resumed(void **state)
{
    (void)state;
    qu_buf want = {0}, got = {0};
    int stopped = 1;
    double all_flops = 0;
    for (int n = -1; stopped; n++) { /* -1: never stopped */
        const char *docs = fresh_docs();
        write_three();
        px_open_write(&p, "store", "w1024.gguf");
        px_sync(&p, docs);
        qu_make_kv_report r = px_make_kv(&p, n);
        stopped = n < 0 || r.stopped;
        int64_t tokens = r.tokens;
        if (n < 0) all_flops = r.flops;
        px_assert_clean(&p);
        px_close(&p); /* the next run is another process */
        px_open_write(&p, "store", "w1024.gguf");
        qu_make_kv_work left;
        TEST_OK(qu_make_kv_missing(&p.s, &left, err));
        assert_int_equal(left.docs, n >= 0 && r.stopped ? 3 : 0);
        r = px_make_kv(&p, -1);
        assert_false(r.stopped);
        assert_true(tokens > 0 || n < 5); /* three documents ask, then each pass */
        if (n >= 0)
            assert_true(tokens > 0 ? r.flops < all_flops
                                   : r.flops == all_flops); /* its own work only */
        TEST_OK(qu_make_kv_missing(&p.s, &left, err));
        assert_int_equal(left.docs, 0);
        got.len = 0;
        all_slices(n < 0 ? &want : &got);
        if (n >= 0) {
            assert_int_equal(got.len, want.len);
            assert_memory_equal(got.data, want.data, want.len);
        }
        qu_store_counts c = px_counts(&p);
        assert_int_equal(c.n_open_kv, 0);
        assert_int_equal(c.n_kv_files, 1);
        assert_int_equal(c.n_kv_docs, 3);
        px_assert_clean(&p);
        px_close(&p);
        assert_true(n < 100);
    }
    qu_buf_free(&want);
    qu_buf_free(&got);
}

static void stopped_again_and_again(void **state)
{
    (void)state;
    const char *docs = fresh_docs();
    write_three();
    px_open_write(&p, "store", "w512.gguf");
    px_sync(&p, docs);
    int rounds = 0;
    for (qu_make_kv_report r = {.stopped = true}; r.stopped; rounds++) {
        r = px_make_kv(&p, 4); /* each of the three documents asks once, too */
        assert_true(rounds < 100);
    }
    assert_true(rounds > 3);
    assert_int_equal(px_counts(&p).n_kv_docs, 3);
    assert_int_equal(px_counts(&p).n_open_kv, 0);
    px_assert_clean(&p);
    px_close(&p);
}

/* What an interrupted run left is no use any more once questions have made the rest. */
static void leftovers_are_removed(void **state)
{
    (void)state;
    const char *docs = fresh_docs();
    write_three();
    px_open_write(&p, "store", "copy.gguf");
    px_sync(&p, docs);
    assert_true(px_make_kv(&p, 3).stopped);
    assert_int_equal(px_counts(&p).n_open_kv, 1);
    char text[200];
    px_ask(&p, QU_FIDELITY_KV, 1, "badar bamel nothing", text, NULL, NULL);
    px_close(&p);
    px_open_write(&p, "store", "copy.gguf");
    assert_int_equal(px_counts(&p).n_kv_docs, 3);
    assert_int_equal(px_make_kv(&p, -1).tokens, 0);
    assert_int_equal(px_counts(&p).n_open_kv, 0);
    assert_int_equal(px_counts(&p).n_kv_files, 1);
    px_assert_clean(&p);
    px_close(&p);
}

/* What was begun of a document that is edited, removed or shared meanwhile does no harm. */
static void files_change_between_the_runs(void **state)
{
    (void)state;
    for (int n = 1; n < 12; n++) {
        const char *docs = fresh_docs();
        write_three();
        px_open_write(&p, "store", "copy.gguf");
        px_sync(&p, docs);
        px_make_kv(&p, n);
        px_write(px_path("docs/a.md"), "Houses", "badar gukev hamip jenar", 31, 1);
        px_write(px_path("docs/d.md"), "Rivers", "bamel cipim dogos fuvut", 20, 2); /* as b.md */
        unlink(px_path(n % 2 ? "docs/b.md" : "docs/c.md"));
        px_sync(&p, docs);
        qu_make_kv_report r = px_make_kv(&p, -1);
        assert_false(r.stopped);
        assert_int_equal(px_counts(&p).n_kv_docs, 3);
        assert_int_equal(px_counts(&p).n_open_kv, 0);
        assert_answer("gukev hamip jenar");
        px_assert_clean(&p);
        px_close(&p);
    }
}

/* No document fits the window: nothing is left behind, and the next run says the same. */
static void documents_that_do_not_fit(void **state)
{
    (void)state;
    px_model("w192.gguf", "--random --shape tiny --context 192 --seed 3");
    const char *docs = fresh_docs();
    write_three();
    px_open_write(&p, "store", "w192.gguf");
    px_sync(&p, docs);
    for (int i = 0; i < 3; i++) {
        qu_make_kv_report r = px_make_kv(&p, -1);
        assert_int_equal(r.failed, 3);
        assert_int_equal(r.docs, 0);
        assert_int_equal(px_counts(&p).n_open_kv, 0);
        assert_int_equal(px_counts(&p).n_kv_files, 0);
        px_assert_clean(&p);
    }
    px_close(&p);
}

/* --- files --- */

/* Other bytes under the same size, times and inode: only who reads the file would notice. */
static void change_unseen(const char *path)
{
    struct stat sb;
    assert_int_equal(stat(path, &sb), 0);
    FILE *f = fopen(path, "r+");
    fputs("# Gybbet", f);
    fclose(f);
    struct timespec times[2] = {sb.st_atim, sb.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void unchanged_files_are_not_read(void **state)
{
    (void)state;
    const char *docs = fresh_docs();
    write_three();
    px_open_write(&p, "store", "copy.gguf");
    qu_sync_report s = px_sync(&p, docs);
    assert_report(&s, 3, 0, 0, 0, 0);
    assert_true(s.n_tokens > 0 && s.n_pages > 3 && s.text_bytes > 0);
    uint64_t generation;
    qu_txn *t;
    TEST_OK(qu_txn_begin(&t, p.s.store, QU_TXN_READ, err));
    generation = qu_catalogue_generation(t);
    qu_txn_abort(t);
    change_unseen(px_path("docs/a.md"));
    s = px_sync(&p, docs);
    assert_report(&s, 0, 0, 0, 0, 3);
    assert_int_equal(px_hits(&p, "gybbet"), 0);
    /* a new time alone: read, found to be the same, and not read again */
    px_shell("touch -d '2001-01-01' %s", px_path("docs/b.md"));
    s = px_sync(&p, docs);
    assert_report(&s, 0, 0, 0, 0, 3);
    TEST_OK(qu_txn_begin(&t, p.s.store, QU_TXN_READ, err));
    assert_int_equal(qu_catalogue_generation(t), generation);
    qu_txn_abort(t);
    change_unseen(px_path("docs/b.md"));
    s = px_sync(&p, docs);
    assert_report(&s, 0, 0, 0, 0, 3);
    assert_int_equal(px_hits(&p, "gybbet"), 0);
    px_close(&p);
}

/* Of the same size, as soon as the last version was read: the file's time alone tells. */
static void edits_at_once_are_seen(void **state)
{
    (void)state;
    const char *docs = fresh_docs();
    px_open_write(&p, "store", "copy.gguf");
    for (int i = 0; i < 40; i++) {
        px_write(px_path("docs/a.md"), NULL, "badar", 3, i);
        qu_sync_report s = px_sync(&p, docs);
        assert_report(&s, i == 0, i > 0, 0, 0, 0);
    }
    px_close(&p);
}

static void vanished_files_are_removed(void **state)
{
    (void)state;
    const char *docs = fresh_docs();
    write_three();
    px_shell("mkdir %s", px_path("docs/sub"));
    px_write(px_path("docs/sub/d.md"), "Towns", "nothing there", 5, 4);
    px_open_write(&p, "store", "copy.gguf");
    px_sync(&p, docs);
    unlink(px_path("docs/c.md"));
    unlink(px_path("docs/a.md"));
    /* only what lies under the root that is walked */
    qu_sync_report s = px_sync(&p, px_path("docs/sub"));
    assert_report(&s, 0, 0, 0, 0, 1);
    s = px_sync(&p, docs);
    assert_report(&s, 0, 0, 0, 2, 2);
    assert_int_equal(px_counts(&p).n_docs, 2);
    assert_int_equal(px_hits(&p, "badar"), 0);
    s = px_sync(&p, px_path("docs/b.md")); /* a file as a root */
    assert_report(&s, 0, 0, 0, 0, 1);
    px_shell("rm -r %s", px_path("docs/sub"));
    s = px_sync(&p, docs);
    assert_report(&s, 0, 0, 0, 1, 1);
    px_assert_clean(&p);
    px_close(&p);
}

static void a_vanished_root_is_kept(void **state)
{
    (void)state;
    const char *docs = fresh_docs();
    px_shell("rm -rf %s %s", px_path("disk"), px_path("away"));
    px_shell("mkdir %s", px_path("disk"));
    write_three();
    px_write(px_path("disk/x.md"), "Disks", "gukev cipim dogos fuvut", 12, 1);
    px_open_write(&p, "store", "copy.gguf");
    char *disk = strdup(px_path("disk"));
    const char *roots[] = {docs, disk};
    px_sync_roots(&p, roots, 2, false);
    px_shell("mv %s %s", px_path("disk"), px_path("away"));
    /* also while a copy of its file turns up elsewhere: nothing under it is touched */
    px_shell("cp %s %s", px_path("away/x.md"), px_path("docs/copy.md"));
    unlink(px_path("docs/c.md"));
    for (int i = 0; i < 2; i++) {
        qu_sync_report s = i ? px_sync_roots(&p, roots, 2, false) : px_sync(&p, docs);
        assert_int_equal(s.failed, i);
        qu_doc d;
        assert_true(px_doc(&p, px_path("disk/x.md"), &d));
        qu_doc_free(&d);
        assert_false(px_doc(&p, px_path("docs/c.md"), &d));
        assert_int_equal(px_counts(&p).n_docs, 4);
    }
    px_shell("mv %s %s", px_path("away"), px_path("disk"));
    qu_sync_report s = px_sync_roots(&p, roots, 2, false);
    assert_report(&s, 0, 0, 0, 0, 4);
    assert_int_equal(s.failed, 0);
    px_assert_clean(&p);
    px_close(&p);
    free(disk);
}

static void unreadable_folders_and_files_keep_their_documents(void **state)
{
    (void)state;
    const char *docs = fresh_docs();
    write_three();
    px_shell("mkdir %s", px_path("docs/sub"));
    px_write(px_path("docs/sub/d.md"), "Towns", "nothing there", 5, 4);
    px_write(px_path("docs/subway.md"), "Subways", "not below sub", 5, 5);
    px_open_write(&p, "store", "copy.gguf");
    px_sync(&p, docs);
    px_shell("chmod 0 %s", px_path("docs/sub"));
    unlink(px_path("docs/subway.md"));
    px_shell("touch %s; chmod 0 %s", px_path("docs/b.md"), px_path("docs/b.md"));
    bool root = geteuid() == 0; /* whom no permission stops */
    if (root) {
        px_shell("chown -R 65534 %s", px_dir);
        assert_int_equal(seteuid(65534), 0);
    }
    qu_sync_report s = px_sync(&p, docs);
    if (root) assert_int_equal(seteuid(0), 0);
    assert_report(&s, 0, 0, 0, 1, 2);
    assert_int_equal(s.failed, 2);
    assert_int_equal(px_counts(&p).n_docs, 4);
    assert_true(px_hits(&p, "towns") > 0 && px_hits(&p, "rivers") > 0);
    px_shell("chmod 755 %s %s", px_path("docs/sub"), px_path("docs/b.md"));
    s = px_sync(&p, docs);
    assert_report(&s, 0, 0, 0, 0, 4);
    px_assert_clean(&p);
    px_close(&p);
}

static void a_dry_run_changes_nothing(void **state)
{
    (void)state;
    const char *docs = fresh_docs();
    write_three();
    px_open_write(&p, "store", "copy.gguf");
    px_sync(&p, docs);
    px_make_kv(&p, -1);
    px_shell("mv %s %s", px_path("docs/a.md"), px_path("docs/z.md"));
    px_write(px_path("docs/b.md"), "Rivers", "gukev cipim dogos fuvut", 21, 2);
    unlink(px_path("docs/c.md"));
    px_write(px_path("docs/new.md"), "New", "nothing new", 5, 2);
    qu_store_counts before = px_counts(&p);
    px_shell(
        "cp -r %s %s; cd %s && find . -type f ! -name 'catalogue*' | sort | xargs sha256sum >%s",
        px_path("store"), px_path("store.old"), px_path("store"), px_path("sums"));
    qu_sync_report s = px_sync_roots(&p, &docs, 1, true);
    assert_report(&s, 1, 1, 1, 1, 0);
    unlink(px_path("store/lexical.idx")); /* a missing index is not made either */
    px_sync_roots(&p, &docs, 1, true);
    assert_int_not_equal(access(px_path("store/lexical.idx"), F_OK), 0);
    px_shell("cp %s %s", px_path("store.old/lexical.idx"), px_path("store/lexical.idx"));
    qu_store_counts after = px_counts(&p);
    assert_int_equal(before.n_docs, after.n_docs);
    assert_int_equal(before.n_tokens, after.n_tokens);
    assert_int_equal(before.n_kv_docs, after.n_kv_docs);
    px_shell("cd %s && sha256sum -c --quiet %s && rm -r %s", px_path("store"), px_path("sums"),
             px_path("store.old"));
    qu_doc d;
    assert_true(px_doc(&p, px_path("docs/a.md"), &d));
    qu_doc_free(&d);
    assert_true(px_doc(&p, px_path("docs/c.md"), &d));
    qu_doc_free(&d);
    assert_false(px_doc(&p, px_path("docs/new.md"), &d));
    assert_int_equal(px_hits(&p, "gukev"), 0);
    s = px_sync(&p, docs); /* then for good, as was announced */
    assert_report(&s, 1, 1, 1, 1, 0);
    px_assert_clean(&p);
    px_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identical_files_share_kv),
        cmocka_unit_test(different_texts_do_not_share),
        cmocka_unit_test(a_rename_costs_nothing),
        cmocka_unit_test(an_edit_replaces_the_document),
        cmocka_unit_test(an_edit_costs_what_follows_it),
        cmocka_unit_test(interrupted_kv_is_resumed),
        cmocka_unit_test(stopped_again_and_again),
        cmocka_unit_test(leftovers_are_removed),
        cmocka_unit_test(files_change_between_the_runs),
        cmocka_unit_test(documents_that_do_not_fit),
        cmocka_unit_test(unchanged_files_are_not_read),
        cmocka_unit_test(edits_at_once_are_seen),
        cmocka_unit_test(vanished_files_are_removed),
        cmocka_unit_test(a_vanished_root_is_kept),
        cmocka_unit_test(unreadable_folders_and_files_keep_their_documents),
        cmocka_unit_test(a_dry_run_changes_nothing),
    };
    return cmocka_run_group_tests(tests, px_setup, px_teardown);
}
