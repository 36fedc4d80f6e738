/* Children that parse: what they may not do, what they do wrong, and what their parent makes of
 * it. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <zlib.h>

#include "ingest/sandbox.h"
#include "tests/reader_testing.h"

static qu_reader *make_reader(const char *program, int seconds)
{
    qu_reader *r;
    qu_reader_options o = {.program = program, .seconds = seconds};
    TEST_OK(qu_reader_create(&r, &o, err));
    return r;
}

/* --- the sandbox --- */

static int can_write(void)
{
    return open("/tmp/quire-sandbox", O_WRONLY | O_CREAT, 0600) >= 0;
}
static int can_truncate(void)
{
    return open("/tmp/quire-sandbox", O_RDONLY | O_CREAT | O_TRUNC, 0600) >= 0;
}
static int can_connect(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}
static int can_talk(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}
static int can_read_secrets(void)
{
    return open("/etc/passwd", O_RDONLY) >= 0;
}
static int can_kill(void)
{
    return kill(getppid(), 0) == 0;
}
static int can_signal(void)
{
    return fcntl(0, F_SETOWN, getppid()) == 0;
}
static int can_unshare(void)
{
    /* CLONE_NEWUSER */
    return syscall(SYS_clone, 0x10000000 | SIGCHLD, NULL, NULL, NULL, NULL) >= 0;
}
static int can_fork(void)
{
    return fork() >= 0;
}
static int can_remove(void)
{
    return unlink("/tmp/quire-sandbox-file") == 0;
}
static int can_raise(void)
{
    struct rlimit r = {RLIM_INFINITY, RLIM_INFINITY};
    return setrlimit(RLIMIT_FSIZE, &r) == 0;
}
static int can_allocate(void)
{
    return malloc((size_t)QU_SANDBOX_MEMORY_BYTES) != NULL;
}
static int can_start(void)
{
    char *argv[] = {"true", NULL}, *env[] = {NULL};
    execve("/bin/true", argv, env); /* only returns where it fails */
    return 0;
}
static int can_work(void) /* what parsers need */
{
    char *p = malloc(1 << 20);
    int fd = open("/usr/lib/os-release", O_RDONLY);
    bool good = p && fd >= 0 && read(fd, p, 16) == 16;
    return good && open("/usr", O_RDONLY | O_DIRECTORY) >= 0;
}

static int in_sandbox(int (*what)(void), const char *program)
{
    int code;
    pid_t pid = fork();
    if (pid == 0) _exit(qu_sandbox_enter(program, NULL) == QU_OK ? what() : 9);
    assert_int_equal(waitpid(pid, &code, 0), pid);
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static void test_sandbox(void **state)
{
    (void)state;
    const struct {
        const char *name;
        int (*what)(void);
    } never[] = {{"write", can_write},   {"truncate", can_truncate}, {"connect", can_connect},
                 {"talk", can_talk},     {"kill", can_kill},         {"fork", can_fork},
                 {"remove", can_remove}, {"raise", can_raise},       {"start", can_start},
                 {"signal", can_signal},   {"unshare", can_unshare}};
    int fd = open("/tmp/quire-sandbox-file", O_WRONLY | O_CREAT, 0600);
    close(fd);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (in_sandbox(never[i].what, NULL) != 0) fail_msg("a parser may %s", never[i].name);
    unlink("/tmp/quire-sandbox-file");
    assert_int_equal(in_sandbox(can_work, NULL), 1);
    assert_int_equal(in_sandbox(can_fork, "/bin/false"), 1); /* with a program it may */
    assert_int_equal(in_sandbox(can_write, "/bin/false"), 0);
    assert_int_equal(in_sandbox(can_unshare, "/bin/false"), 0);
    assert_int_equal(in_sandbox(can_connect, "/bin/false"), 0);
    if (syscall(444, NULL, 0, 1) < 1) { /* landlock_create_ruleset */
        print_message("skipped: no Landlock in this kernel: which files can be read\n");
    } else {
        assert_int_equal(in_sandbox(can_read_secrets, NULL), 0);
        assert_int_equal(in_sandbox(can_start, "/bin/false"), 0); /* only that one program */
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_int_equal(in_sandbox(can_allocate, NULL), 0);
#endif
}

/* --- children that do not do as they should --- */

static void write_file(const char *path, const void *p, size_t n, int mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    close(fd);
}

/* Read "<p>x" with a child that is a shell script; the fault's message contains want. */
static void assert_child(const char *dir, const char *script, const char *want)
{
    char path[128];
    results r = {0};
    qu_err why = {0};
    snprintf(path, sizeof path, "%s/child", dir);
    write_file(path, script, strlen(script), 0700);
    qu_reader *reader = make_reader(path, 1);
    for (int turn = 0; turn < 2; turn++) { /* started anew each time */
        qu_status st = read_with(reader, &r, "<p>x", 4, "x.html", &why);
        assert_int_not_equal(st, QU_OK);
        if (!strstr(why.msg, want)) fail_msg("%s: %s", script, why.msg);
        TEST_OK(read_with(reader, &r, "plain", 5, "x.txt", err)); /* others go on */
    }
    free_results(&r);
    qu_reader_free(reader);
}

static void test_bad_children(void **state)
{
    (void)state;
    char dir[] = "/tmp/quire-reader-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(qu_expand_kind("\xFF\xFE<\0", 4, "a.txt"), QU_KIND_HTML); /* not parsed here */
    assert_int_equal(qu_expand_kind("\0<\0h", 4, "a.txt"), QU_KIND_HTML);
    assert_child(dir, "#!/bin/sh\nexit 0\n", "died");
    assert_child(dir, "#!/bin/sh\ndd bs=1 count=20 2>/dev/null >/dev/null; kill -SEGV $$\n",
                 "died (signal 11)");
    assert_child(dir, "#!/bin/sh\nexit 4\n", "cannot confine");
    assert_child(dir, "#!/bin/sh\nsleep 20\n", "too long");
    assert_child(dir, "#!/bin/sh\nexec cat /dev/zero\n", "cannot be");
    assert_child(dir, "#!/bin/sh\nexec cat /dev/urandom\n", "cannot be");
    snprintf(path, sizeof path, "%s/child", dir);
    unlink(path);
    rmdir(dir);
}

/* Everything that a frame can get wrong, one at a time. */
static void test_lies(void **state)
{
    (void)state;
    char dir[] = "/tmp/quire-reader-XXXXXX", answer[64], script[128];
    struct {
        qu_child_frame f;
        char title[4];
        qu_document d;
        char text[40];
        qu_cut cut;
        qu_heading h;
        qu_source_run run;
        qu_child_frame end;
    } __attribute__((packed)) good = {.f = {QU_CHILD_DOCUMENT, 0, 4, sizeof(qu_document)},
                                      .title = "abcd",
                                      .d = {.text_bytes = 40,
                                            .n_cuts = 1,
                                            .n_headings = 1,
                                            .n_runs = 1,
                                            .has_source = true,
                                            .charset = "utf-8",
                                            .format = "html"},
                                      .text = "A text of forty bytes, no more, no less.",
                                      .cut = {20, QU_CUT_LINE},
                                      .h = {0, 1, 2, 4},
                                      .run = {0, 0, 4},
                                      .end = {QU_CHILD_END, 0, 0, 0}},
                              bad;
    assert_non_null(mkdtemp(dir));
    snprintf(answer, sizeof answer, "%s/answer", dir);
    snprintf(script, sizeof script, "#!/bin/sh\nhead -c 20 >/dev/null; cat %s; sleep 5\n", answer);
    for (int i = 0; i < 21; i++) {
        bad = good;
        switch (i) {
        case 0: bad.f.type = 9; break;
        case 1: bad.f.name_bytes = 1ll << 40; break;
        case 2: bad.f.bytes = -1; break;
        case 3: bad.d.text_bytes = 1ll << 50; break;
        case 4: bad.d.n_cuts = 4; break;
        case 5: bad.d.n_runs = 1ll << 40; break;
        case 6: bad.text[3] = '\xFF'; break;
        case 7: bad.text[3] = 0; break;
        case 8: bad.title[1] = '\n'; break;
        case 9: bad.cut.at = 40; break;
        case 10: bad.cut.rank = 99; break;
        case 11: bad.h.text_end = 41; break;
        case 12: bad.h.level = -1; break;
        case 13: bad.run.n = 5; break; /* more than the four bytes read */
        case 14: bad.run.source_at = -1; break;
        case 15: bad.d.has_source = 0; break;
        case 16: memset(bad.d.format, 'x', sizeof bad.d.format); break;
        case 17: bad.d.text_bytes = 0; break;
        case 18: bad.f.status = -3, bad.f.bytes = 1 << 20; break;
        case 19: bad.d.n_headings = -1; break;
        default: bad.f.name_bytes = 3; break;
        }
        write_file(answer, &bad, sizeof bad, 0600);
        assert_child(dir, script, "cannot be");
    }
    results r = {0};
    char path[64];
    snprintf(path, sizeof path, "%s/child", dir);
    write_file(answer, &good, sizeof good, 0600);
    qu_reader *reader = make_reader(path, 5);
    TEST_OK(read_with(reader, &r, "<p>x", 4, "x.html", err)); /* and the truth is taken */
    assert_string_equal(r.lines.data, " [html] abcd\n");
    free_results(&r);
    qu_reader_free(reader);
    unlink(answer);
    unlink(path);
    rmdir(dir);
}

/* --- compressed files and archives --- */

static int64_t gzip(uint8_t *out, int64_t at, int64_t cap, const void *p, int64_t n)
{
    z_stream z = {.next_in = (Bytef *)p,
                  .avail_in = (uInt)n,
                  .next_out = out + at,
                  .avail_out = (uInt)(cap - at)};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return z.next_out - out;
}

static void test_gzip(void **state)
{
    (void)state;
    static uint8_t gz[1 << 20];
    results r = {0};
    qu_err err = {0};
    qu_reader *reader = make_reader("/proc/self/exe", 0);
    int64_t n = gzip(gz, 0, sizeof gz, "# one\n", 6);
    n = gzip(gz, n, sizeof gz, "two\n", 4);
    assert_int_equal(read_with(reader, &r, gz, (size_t)n, "x.md.gz", &err), QU_OK);
    assert_string_equal(r.text.data, "# one\ntwo\n");
    assert_string_equal(r.lines.data, " [markdown] one\n"); /* of the name without .gz */
    for (int64_t cut = 3; cut < n; cut++) { /* every truncation but the one between members */
        qu_status st = read_with(reader, &r, gz, (size_t)cut, "x.gz", &err);
        if (st == QU_OK)
            assert_string_equal(r.text.data, "# one\n");
        else
            assert_int_equal(st, QU_ERR_FORMAT);
        if (st != QU_OK) assert_non_null(strstr(err.msg, "'x.gz'"));
    }
    n = gzip(gz, 0, sizeof gz, "some text of which one bit is flipped", 37);
    gz[n - 6] ^= 1; /* the checksum */
    assert_int_equal(read_with(reader, &r, gz, (size_t)n, "x.gz", &err), QU_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "'x.gz' is damaged or cut short: its checksum is wrong"));
    free_results(&r);
    qu_reader_free(reader);
}

static void test_bombs(void **state)
{
    (void)state;
    static uint8_t gz[1 << 20];
    results r = {0};
    qu_err err = {0};
    packer p;
    size_t big = 24 << 20;
    char *zeros = calloc(1, big);
    qu_reader *reader = make_reader("/proc/self/exe", 0);
    memset(zeros, 'a', big);
    int64_t n = gzip(gz, 0, sizeof gz, zeros, (int64_t)big);
    assert_int_equal(read_with(reader, &r, gz, (size_t)n, "x", &err), QU_ERR_LIMIT);
    assert_string_equal(err.msg, "'x' unpacks to more than 512 MiB or 200 times its size");
    pack_open(&p, "zip", NULL, 1 << 20);
    for (int i = 0; i < 20; i++) pack(&p, "a.txt", zeros, 1 << 20); /* each below what is free */
    pack_close(&p);
    assert_int_equal(read_with(reader, &r, p.data, p.n, "x.zip", &err), QU_ERR_LIMIT);
    free(p.data);
    n = gzip(gz, 0, sizeof gz, zeros, 1 << 20); /* 1000 to 1, but small */
    assert_int_equal(read_with(reader, &r, gz, (size_t)n, "x", &err), QU_OK);
    assert_int_equal(r.text.len, 1 << 20);
    char big_file[] = "/tmp/quire-reader-XXXXXX";
    qu_reader_sink nobody = {0};
    int fd = mkstemp(big_file);
    assert_int_equal(ftruncate(fd, QU_DOCUMENT_MAX_BYTES + 1ll), 0);
    assert_int_equal(qu_reader_read(reader, big_file, &nobody, &err), QU_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "is too large"));
    close(fd);
    unlink(big_file);
    free(zeros);
    free_results(&r);
    qu_reader_free(reader);
}

/* Boxes in boxes: the innermost that is too deep is a fault, the rest is read. */
static void test_nesting(void **state)
{
    (void)state;
    results r = {0};
    packer inner, outer;
    qu_reader *reader = make_reader("/proc/self/exe", 0);
    pack_open(&inner, "zip", NULL, 1 << 16);
    pack_text(&inner, "deep.html", "<p>the deepest text</p>");
    pack_close(&inner);
    for (int i = 0; i < QU_READER_MAX_NESTING; i++) {
        pack_open(&outer, i & 1 ? "zip" : "ustar", i & 1 ? NULL : "zstd", 1 << 16);
        pack(&outer, "box.zip", inner.data, inner.n);
        pack_text(&outer, "beside.txt", "text beside");
        pack_close(&outer);
        free(inner.data);
        inner = outer;
        TEST_OK(read_with(reader, &r, outer.data, outer.n, "x", err));
        assert_int_equal(r.faults, i + 2 > QU_READER_MAX_NESTING);
        assert_non_null(strstr(r.lines.data, "\nbeside.txt [text]"));
    }
    assert_non_null(strstr(r.lines.data, "is nested more than 5 deep: unpack it by hand"));
    free(inner.data);
    free_results(&r);
    qu_reader_free(reader);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"../../etc/passwd", "etc/passwd"},
                                           {"/abs.txt", "abs.txt"},
                                           {"a/./b//../c", "a/b/c"},
                                           {"..", "unnamed"},
                                           {"x\ny\x1B[2J", "x y [2J"},
                                           {"-rf ~;$(id)`", "-rf ~;$(id)`"},
                                           {"a!b!c", "a!b!c"},
                                           {"\xFF\xFE", "\xFF\xFE"}};
    results r = {0};
    packer p;
    char want[256] = "";
    qu_reader *reader = make_reader("/proc/self/exe", 0);
    pack_open(&p, "ustar", "gzip", 1 << 16);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pack_text(&p, names[i][0], "some text\n");
        snprintf(want + strlen(want), sizeof want - strlen(want), "%s [text] some text\n",
                 names[i][1]);
    }
    pack_close(&p);
    TEST_OK(read_with(reader, &r, p.data, p.n, "x", err));
    r.lines.data[strlen(want)] = 0; /* the archive itself comes last */
    assert_string_equal(r.lines.data, want);
    free(p.data);
    free_results(&r);
    qu_reader_free(reader);
}

/* A member that fails takes no other with it; a picture is no text. */
static void test_members(void **state)
{
    (void)state;
    results r = {0};
    packer p;
    qu_reader *reader = make_reader("/proc/self/exe", 0);
    static const char *const formats[] = {"zip", "7zip", "ustar"};
    for (size_t i = 0; i < 3; i++) {
        pack_open(&p, formats[i], NULL, 1 << 16);
        pack_text(&p, "a.html", "<title>A</title><p>first</p>");
        pack_text(&p, "bad.zip", "PK\3\4 and no more");
        pack(&p, "p.png", "\x89PNG\r\n\x1A\n\0\0\0\1", 12);
        pack_text(&p, "b.md", "# B\n\nsecond");
        pack_close(&p);
        TEST_OK(read_with(reader, &r, p.data, p.n, "x", err));
        assert_non_null(strstr(r.lines.data, "a.html [html] A\n"));
        assert_non_null(
            strstr(r.lines.data, "b.md [markdown] B\n [archive] Archive of 4 files:\n"));
        assert_int_equal(r.documents, 3);
        assert_int_equal(r.faults, 2);
        free(p.data);
    }
    free_results(&r);
    qu_reader_free(reader);
}

int main(int argc, char **argv)
{
    if (qu_child_asked(argc, argv)) return qu_child_main(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox), cmocka_unit_test(test_bad_children),
        cmocka_unit_test(test_lies),    cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_bombs),   cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_names),   cmocka_unit_test(test_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
