/* ingest/walk.h: order, hidden entries, links, odd files, roots that are not there. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/buf.h"
#include "ingest/ignore.h"
#include "ingest/walk.h"
#include "tests/testing.h"

static char dir[64];

typedef struct seen {
    qu_buf log; /* "path\n" a file, "path: reason\n" a skip; the folder's own path cut off */
    int64_t bytes;
    int folders; /* skips of folders */
    size_t last_root;
    qu_status answer;
} seen;

static const char *below(const char *path)
{
    assert_memory_equal(path, dir, strlen(dir));
    return path + strlen(dir);
}

static qu_status on_file(void *ctx, const qu_walk_entry *e)
{
    seen *s = ctx;
    struct stat sb;
    assert_int_equal(stat(e->path, &sb), 0);
    assert_int_equal(e->size_bytes, sb.st_size);
    assert_int_equal(e->inode, sb.st_ino);
    assert_int_equal(e->dev, sb.st_dev);
    assert_int_equal(e->mtime_ns, (int64_t)sb.st_mtim.tv_sec * 1000000000 + sb.st_mtim.tv_nsec);
    s->bytes += e->size_bytes;
    s->last_root = e->root;
    TEST_OK(qu_buf_printf(&s->log, err, "%s\n", below(e->path)));
    return s->answer;
}

static qu_status on_skip(void *ctx, const qu_walk_skip *e)
{
    seen *s = ctx;
    s->folders += e->folder;
    TEST_OK(qu_buf_printf(&s->log, err, "%s: %s\n", below(e->path), e->reason));
    return s->answer;
}

static const qu_walk_rules *rules; /* of the walks to come */

static void assert_walk(const char *const *names, size_t n, const char *want)
{
    seen s = {0};
    char paths[4][128];
    const char *roots[4];
    for (size_t i = 0; i < n; i++) {
        snprintf(paths[i], sizeof paths[i], "%s%s", dir, names[i]);
        roots[i] = paths[i];
    }
    TEST_OK(qu_walk(roots, n, rules, on_file, on_skip, &s, err));
    assert_string_equal(s.log.len ? s.log.data : "", want);
    qu_buf_free(&s.log);
}
#define WALK(want, ...)                                                                            \
    assert_walk((const char *const[]){__VA_ARGS__},                                                \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), want)

static void make(const char *name, const char *content)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!content) {
        assert_int_equal(mkdir(path, 0700), 0);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
}

static void link_to(const char *target, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(symlink(target, path), 0);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/quire-walk-XXXXXX");
    char *made = mkdtemp(dir), *real = made ? realpath(dir, NULL) : NULL;
    if (!real) return -1;
    snprintf(dir, sizeof dir, "%s", real);
    free(real);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "chmod -R u+rwx '%s'; rm -rf '%s'", dir, dir);
    return system(command);
}

static void test_order(void **state)
{
    (void)state;
    make("b.txt", "22");
    make("a", NULL);
    make("a/z.txt", "1");
    make("a/sub", NULL);
    make("a/sub/x", "");
    make("a-b", "");
    make("B", "");
    make("\xC3\xA9", "");
    make("\xFF\xFE", ""); /* no UTF-8 */
    make("new\nline", "");
    make(".hidden", "");
    make(".git", NULL);
    make(".git/config", "");
    WALK("/B\n/a/sub/x\n/a/z.txt\n/a-b\n/b.txt\n/new\nline\n/\xC3\xA9\n/\xFF\xFE\n", "");
    WALK("/b.txt\n/a/sub/x\n/a/z.txt\n/a/sub/x\n", "/b.txt", "/a/",
         "/a/../a/sub");                                   /* as given, each root */
    WALK("/.git/config\n/.hidden\n", "/.git", "/.hidden"); /* named */
    WALK("/a/sub/x\n", "/a/sub/x");
    seen s = {0};
    TEST_OK(qu_walk((const char *const[]){dir}, 1, NULL, on_file, NULL, &s, err));
    assert_int_equal(s.bytes, 3);
    qu_buf_free(&s.log);
    TEST_OK(qu_walk(NULL, 0, NULL, on_file, NULL, &s, err));
}

static void test_links(void **state)
{
    (void)state;
    make("real", NULL);
    make("real/file", "x");
    link_to("real/file", "to-file");
    link_to("real", "to-folder");
    link_to(".", "real/loop");
    link_to("nowhere", "broken");
    WALK("/broken: cannot follow the symbolic link: No such file or directory\n/real/file\n"
         "/real/loop: is a symbolic link to a folder\n/to-file\n/to-folder: is a symbolic link to "
         "a folder\n",
         "");
    WALK("/real/file\n/real/loop: is a symbolic link to a folder\n",
         "/to-folder"); /* a root is followed */
    WALK("/real/file\n", "/to-file");
}

static void test_odd_files(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%.90s/sock", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    close(fd);
    link_to("/dev/null", "null");
    WALK("/fifo: is a FIFO\n/null: is a device\n/sock: is a socket\n", "");
    WALK("/fifo: is a FIFO\n", "/fifo");
}

static void test_unreadable(void **state)
{
    (void)state;
    make("no", NULL);
    make("no/file", "");
    make("yes", "");
    char path[128];
    snprintf(path, sizeof path, "%s/no", dir);
    const uid_t nobody = 65534, me = geteuid();
    bool root = me == 0; /* the superuser can read every folder: be somebody else meanwhile */
    if (root &&
        (chmod(dir, 0755) != 0 || chown(path, nobody, (gid_t)-1) != 0 || seteuid(nobody) != 0)) {
        print_message("skipped: cannot give up the superuser's rights\n");
        skip();
    }
    assert_int_equal(chmod(path, 0), 0);
    WALK("/no: cannot open: Permission denied\n/yes\n", "");
    assert_int_equal(chmod(path, 0400), 0); /* names, but nothing behind them */
    WALK("/no: its .quireignore cannot be read\n/yes\n", "");
    assert_int_equal(chmod(path, 0700), 0);
    if (root) assert_int_equal(seteuid(me), 0);
}

static void test_deep(void **state)
{
    (void)state;
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < QU_WALK_MAX_DEPTH + 3; i++) { /* longer than PATH_MAX in all */
        char name[32];
        snprintf(name, sizeof name, "a-folder-%010d", i);
        assert_int_equal(mkdirat(fd, name, 0700), 0);
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY);
        close(fd);
        fd = next;
    }
    close(fd);
    seen s = {0};
    TEST_OK(qu_walk((const char *const[]){dir}, 1, NULL, on_file, on_skip, &s, err));
    assert_int_equal(s.folders, 1);
    assert_non_null(strstr(s.log.data, "a-folder-0000000256: is nested too deep\n"));
    assert_true(s.log.len > 4096);
    qu_buf_free(&s.log);
}

static void test_errors(void **state)
{
    (void)state;
    make("file", "");
    char path[128], file[128], below_file[128];
    snprintf(path, sizeof path, "%s/gone", dir);
    snprintf(file, sizeof file, "%s/file", dir);
    snprintf(below_file, sizeof below_file, "%s/file/x", dir);
    seen s = {0};
    qu_err e = {0};
    const char *roots[] = {file, path};
    assert_int_equal(qu_walk(roots, 2, NULL, on_file, on_skip, &s, &e), QU_ERR_NOTFOUND);
    assert_non_null(strstr(e.msg, "'/tmp/quire-walk-"));
    assert_non_null(strstr(e.msg, "/gone'"));
    assert_int_equal(s.log.len, 0); /* nothing was reported before all roots were found */
    roots[1] = below_file;
    assert_int_equal(qu_walk(roots, 2, NULL, on_file, on_skip, &s, NULL), QU_ERR_NOTFOUND);
    make("file2", "");
    s.answer = QU_ERR_CANCELLED; /* the callback ends the walk */
    e = (qu_err){0};
    assert_int_equal(qu_walk((const char *const[]){dir}, 1, NULL, on_file, on_skip, &s, &e),
                     QU_ERR_CANCELLED);
    assert_string_equal(s.log.data, "/file\n");
    assert_string_equal(e.msg, "");
    qu_buf_free(&s.log);
}

/* "1 yes, 0 nothing said, - taken back" for each path below "/r", which is a folder if it ends in
 * '/'. */
static void test_patterns(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"*.log", "a.log a/b.log a.log/ a.lo x.log.txt", "11100"},
        {"#a\n\\#a\n\\!b\n\n  \t\nc\\ \nd  ", "#a a !b b c d", "101001"},
        {"/a.c", "a.c b/a.c", "10"},
        {"doc/*.txt", "doc/a.txt doc/x/a.txt x/doc/a.txt", "100"},
        {"build/", "build build/ a/build/ a/build", "0110"},
        {"/out/", "out/ a/out/", "10"},
        {"*.c\n!main.c\n/x/main.c", "a.c main.c x/main.c y/main.c", "1-1-"},
        {"**/foo", "foo a/foo a/b/foo a/b/fo", "1110"},
        {"foo/**", "foo foo/a foo/a/b a/foo/b", "0110"},
        {"a/**/b", "a/b a/x/b a/x/y/b a/xb c/a/b", "11100"},
        {"a**b", "ab axb axb/ a/b", "1110"},
        {"*a*b*", "xaxbx b/ab ba", "110"},
        {"?.[ch]\n[!a-c]x\n[]x]y\n[z", "a.c \xC3\xA9.h ab.c dx ax ]y xy [z", "11010110"},
        {"a\\*b", "a*b axb", "10"},
        {"/*/c/**/d*e/f?", "a/c/q/de/fx a/c/dxxe/fy a/c/q/w/d/e/fx c/de/fx", "1100"},
        {"x/\r\ny\r", "x/ x y", "101"},
        {"/\n!\n!/\n\\", "a a/", "00"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qu_ignore g = {0};
        char paths[200], got[32] = "", path[210];
        int n = 0;
        TEST_OK(qu_ignore_add(&g, cases[i][0], strlen(cases[i][0]), 2, err));
        snprintf(paths, sizeof paths, "%s", cases[i][1]);
        for (char *p = paths, *next; p; p = next) {
            if ((next = strchr(p, ' '))) *next++ = 0;
            size_t len = (size_t)snprintf(path, sizeof path, "/r/%s", p);
            bool folder = path[len - 1] == '/';
            if (folder) path[len - 1] = 0;
            got[n++] = "-01"[1 + qu_ignore_match(&g, path, folder)];
        }
        if (strcmp(got, cases[i][2]) != 0)
            fail_msg("'%s' on '%s': %s, not %s", cases[i][0], cases[i][1], got, cases[i][2]);
        qu_ignore_free(&g);
    }
}

static void test_ignored(void **state)
{
    (void)state;
    make("a.log", "");
    make("a.txt", "");
    make("b.md", "");
    make("sub", NULL);
    make("sub/a.log", "");
    make("sub/keep.log", "");
    make("sub/deep", NULL);
    make("sub/deep/c.txt", "");
    make("sub/deep/keep.log", "");
    make("out", NULL);
    make("out/d.txt", "");
    make(".quireignore", "*.log\nout/\n");
    make("sub/.quireignore", "!keep.log\n/deep/c*\n");
    WALK("/a.txt\n/b.md\n/sub/deep/keep.log\n/sub/keep.log\n", "");
    WALK("/out/d.txt\n", "/out"); /* named */
    WALK("/a.log\n", "/a.log");
    rules = &(const qu_walk_rules){.exclude = "*.md\n/sub/deep/\n"};
    WALK("/a.txt\n/sub/keep.log\n", "");
    rules = &(const qu_walk_rules){.include = "*.md\nsub/**\n"};
    WALK("/b.md\n/sub/deep/keep.log\n/sub/keep.log\n", "");
    rules = &(const qu_walk_rules){.exclude = "keep.log", .include = "*.log"};
    /* the list below takes it back */
    WALK("/sub/a.log\n/sub/deep/keep.log\n/sub/keep.log\n", "/sub");
    rules = NULL;
    char path[256];
    snprintf(path, sizeof path, "%s/sub/.quireignore", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* what a list that cannot be read says is not known */
    WALK("/a.txt\n/b.md\n/sub: its .quireignore cannot be read\n", "");
}

#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_order),           IN_FOLDER(test_links),  IN_FOLDER(test_odd_files),
        IN_FOLDER(test_unreadable),      IN_FOLDER(test_deep),   IN_FOLDER(test_errors),
        cmocka_unit_test(test_patterns), IN_FOLDER(test_ignored)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
