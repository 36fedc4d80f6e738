/* A layer between a program and its files that makes things go wrong at one chosen call: loaded
 * with LD_PRELOAD, steered by QUIRE_FAULT, which tests/fault_testing.h sets.
 *
 *     QUIRE_FAULT=MODE:CLASSES:N:SEED:FOLDER   QUIRE_FAULT_LOG=FILE
 *
 * MODE   count  nothing happens
 *        fail   call number N (from 0) returns an error; SEED is the errno
 *        stay   that call and every later one does
 *        kill   kill -9 before that call, sometimes behind whole disk pages of a write
 *        cut    the power goes before that call: of what was never synced some is lost, by SEED
 * CLASSES of calls that count, letters of
 *        w write, pwrite, writev, ftruncate, truncate, fallocate    s fsync, fdatasync
 *        n open for writing, rename, unlink, mkdir    k, r open a .kv file or another for reading
 *        m mmap    a malloc and its like    (neither of these two of oneDNN's)
 *        All but m and a only of files in FOLDER, which has one level of folders.
 * FILE   gets the number of calls that counted, or the name of the one that was chosen.
 *
 * What a power cut leaves: a file's bytes are those of its last fsync (or of the start), with any
 * of the later ones in blocks of 512 or 4096 bytes; a folder's names those of its last fsync, each
 * later change of a name either there or not. Writes through an O_DSYNC descriptor last at once.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

enum { MAX_FILES = 64, SECTOR = 512, PAGE = 4096 };

/* A file's bytes, as of its last sync or now. */
typedef struct content {
    ino_t ino;
    struct timespec born; /* numbers of files are used again */
    unsigned char *data;
    size_t len;
} content;

typedef struct name {
    char path[300];
    int file; /* in synced or current, -1 = never synced */
    ino_t ino;
} name;

static char mode, classes[8], folder[200], log_path[300];
static long at, seen;
static unsigned long seed;
static bool armed;
static __thread bool busy; /* inside this layer */
static content synced[MAX_FILES];
static name synced_names[MAX_FILES];
static int n_synced, n_synced_names;

#define REAL(f) ((__typeof__(&f))dlsym(RTLD_NEXT, #f))

/* Code of libraries that do not survive a failing allocation: oneDNN, and C++ under it. */
static struct {
    uintptr_t from, to;
} spared[8];
static int n_spared;

static int spare(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    bool one = strstr(info->dlpi_name, "dnnl") || strstr(info->dlpi_name, "gomp") ||
               strstr(info->dlpi_name, "stdc++");
    for (int i = 0; one && i < info->dlpi_phnum && n_spared < 8; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
            spared[n_spared].from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            spared[n_spared].to = spared[n_spared].from + info->dlpi_phdr[i].p_memsz;
            n_spared++;
        }
    return 0;
}

/* Does it strike an allocation by that caller? */
static bool strikes(char class, const char *call, const char *path, int fd, const struct iovec *v,
                    off_t where);
static bool starves(char class, const char *call, const void *caller)
{
    for (int i = 0; i < n_spared; i++)
        if ((uintptr_t)caller >= spared[i].from && (uintptr_t)caller < spared[i].to) return false;
    return strikes(class, call, NULL, -1, NULL, 0);
}
#define STARVES(class, call) starves(class, call, __builtin_return_address(0))

static unsigned long next_random(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

static void tell(const char *fmt, ...)
{
    va_list ap;
    FILE *f = fopen(log_path, "w");
    if (!f) return;
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    fclose(f);
}

/* --- what a power cut leaves --- */

static bool load(content *c, const char *path)
{
    struct stat sb;
    struct statx sx;
    int fd = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &sb) != 0 || statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &sx) != 0)
        return false;
    c->ino = sb.st_ino;
    c->born = (struct timespec){sx.stx_btime.tv_sec, sx.stx_btime.tv_nsec};
    free(c->data);
    c->len = (size_t)sb.st_size;
    c->data = __libc_malloc(c->len + 1);
    for (size_t n = 0; n < c->len;) {
        ssize_t k = read(fd, c->data + n, c->len - n);
        if (k <= 0) break;
        n += (size_t)k;
    }
    close(fd);
    return true;
}

static int find(const content *list, int n, const content *c)
{
    for (int i = 0; i < n; i++)
        if (list[i].ino == c->ino && memcmp(&list[i].born, &c->born, sizeof c->born) == 0) return i;
    return -1;
}

static void sync_file(const char *path)
{
    content c = {0};
    if (!load(&c, path)) return;
    int i = find(synced, n_synced, &c);
    if (i < 0 && n_synced < MAX_FILES) i = n_synced++;
    if (i < 0) abort(); /* more files than a test should make */
    free(synced[i].data);
    synced[i] = c;
}

/* Append the names of a folder and, with contents, what they name. */
static int list_folder(const char *dir, name *names, int n, content *files, int *n_files)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        content c = {0};
        if (e->d_type != DT_REG || n == MAX_FILES) continue;
        snprintf(names[n].path, sizeof names[n].path, "%s/%s", dir, e->d_name);
        if (!load(&c, names[n].path)) continue;
        names[n].ino = c.ino;
        names[n].file = find(files, *n_files, &c);
        if (names[n].file < 0 &&
            (files != synced || !armed)) { /* at the start all counts as synced */
            names[n].file = *n_files;
            files[(*n_files)++] = c;
        } else {
            free(c.data);
        }
        n++;
    }
    if (d) closedir(d);
    return n;
}

static void sync_folder(const char *dir)
{
    size_t len = strlen(dir);
    int n = 0;
    for (int i = 0; i < n_synced_names; i++) {
        const char *p = synced_names[i].path;
        bool inside = strncmp(p, dir, len) == 0 && p[len] == '/' && !strchr(p + len + 1, '/');
        if (!inside) synced_names[n++] = synced_names[i];
    }
    n_synced_names = list_folder(dir, synced_names, n, synced, &n_synced);
}

/* All names now, and what they name, of the folder and those in it. */
static int list_all(name *names, content *files, int *n_files)
{
    int n = list_folder(folder, names, 0, files, n_files);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        char sub[500];
        snprintf(sub, sizeof sub, "%s/%s", folder, e->d_name);
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            n = list_folder(sub, names, n, files, n_files);
    }
    if (d) closedir(d);
    return n;
}

/* Any mixture of the synced bytes and those that were there. */
static void write_mixture(const char *path, const content *old, const content *new)
{
    static const content nothing;
    if (!old) old = &nothing;
    if (!new) new = old;
    unsigned long how = next_random() % 4; /* old, new, by blocks of 4096 or 512 */
    size_t block = how == 2 ? PAGE : how == 3 ? SECTOR : (size_t)1 << 40;
    size_t len = how == 0 ? old->len : how == 1 || next_random() % 2 ? new->len : old->len;
    unsigned char *b = __libc_calloc(len + 1, 1);
    for (size_t i = 0; i < len; i += block) {
        const content *from = how == 0 ? old : how == 1 || next_random() % 2 ? new : old;
        size_t end = i + block < len ? i + block : len;
        if (end > from->len) end = from->len;
        if (end > i) memcpy(b + i, from->data + i, end - i);
    }
    int fd = REAL(open)(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || REAL(write)(fd, b, len) != (ssize_t)len) abort();
    close(fd);
}

static void cut_power(void)
{
    static content current[MAX_FILES];
    static name names[MAX_FILES];
    static struct {
        const char *path;
        int old, new;
    } left[2 * MAX_FILES];
    int n_current = 0, n_left = 0;
    int n = list_all(names, current, &n_current);
    for (int i = 0; i < n + n_synced_names; i++) { /* names that are there, then those that were */
        const name *now = i < n ? &names[i] : NULL, *was = i < n ? NULL : &synced_names[i - n];
        for (int k = 0; now && k < n_synced_names; k++)
            if (strcmp(synced_names[k].path, now->path) == 0) was = &synced_names[k];
        for (int k = 0; !now && k < n; k++)
            if (strcmp(names[k].path, was->path) == 0) was = NULL, k = n; /* had its turn */
        if (!now && !was) continue;
        bool same = now && was && now->ino == was->ino;
        const name *take = same || (now && next_random() % 2) ? now : was;
        if (!now && next_random() % 2) take = NULL;
        if (!take) continue;
        int file = take == now ? find(synced, n_synced, &current[now->file]) : was->file;
        int new = take == now ? now->file : -1;
        for (int k = 0; take != now && k < n_current && was->file >= 0; k++)
            if (find(synced, n_synced, &current[k]) == was->file)
                new = k; /* lives under another name */
        left[n_left].path = take->path, left[n_left].old = file, left[n_left++].new = new;
    }
    for (int i = 0; i < n; i++) REAL(unlink)(names[i].path);
    for (int i = 0; i < n_left; i++)
        write_mixture(left[i].path, left[i].old < 0 ? NULL : &synced[left[i].old],
                      left[i].new < 0 ? NULL : &current[left[i].new]);
}

/* --- every call passes here --- */

static bool is_inside(const char *path)
{
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static const char *path_of(int fd)
{
    static __thread char path[600];
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return path;
}

/* Does this call fail? errno is set then. path NULL: not of a file. fd and n of a write: how much
 * of it a kill may leave done. */
static bool strikes(char class, const char *call, const char *path, int fd, const struct iovec *v,
                    off_t where)
{
    if (!armed || busy || !strchr(classes, class) || (path && !is_inside(path))) return false;
    long number = __atomic_fetch_add(&seen, 1, __ATOMIC_SEQ_CST);
    if (mode == 'c' || number < at || (number > at && mode != 's')) return false;
    busy = true;
    if (number == at) tell("%s %s", call, path ? path : "");
    if (mode == 'k' || mode == 'p') {
        if (v && v->iov_len > PAGE && seed % 2) {
            size_t part = seed / 2 % (v->iov_len / PAGE) * PAGE;
            if (pwrite(fd, v->iov_base, part, where) < 0) abort();
        }
        if (mode == 'p') cut_power();
        kill(getpid(), SIGKILL);
    }
    busy = false;
    errno = (int)seed;
    return true;
}

/* A call that changed bytes through an O_DSYNC descriptor, or synced them. */
static void lasts(int fd, bool sync)
{
    struct stat sb;
    int e = errno;
    if (mode != 'p' || busy || !armed || !is_inside(path_of(fd))) return;
    busy = true;
    if ((sync || fcntl(fd, F_GETFL) & O_DSYNC) && fstat(fd, &sb) == 0) {
        if (S_ISDIR(sb.st_mode))
            sync_folder(path_of(fd));
        else
            sync_file(path_of(fd));
    }
    busy = false;
    errno = e;
}

ssize_t write(int fd, const void *p, size_t n)
{
    struct iovec v = {(void *)p, n};
    if (strikes('w', "write", path_of(fd), fd, &v, lseek(fd, 0, SEEK_CUR))) return -1;
    ssize_t k = REAL(write)(fd, p, n);
    lasts(fd, false);
    return k;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t where)
{
    struct iovec v = {(void *)p, n};
    if (strikes('w', "pwrite", path_of(fd), fd, &v, where)) return -1;
    ssize_t k = REAL(pwrite)(fd, p, n, where);
    lasts(fd, false);
    return k;
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    if (strikes('w', "writev", path_of(fd), fd, v, lseek(fd, 0, SEEK_CUR))) return -1;
    ssize_t k = REAL(writev)(fd, v, n);
    lasts(fd, false);
    return k;
}

int ftruncate(int fd, off_t n)
{
    return strikes('w', "ftruncate", path_of(fd), fd, NULL, 0) ? -1 : REAL(ftruncate)(fd, n);
}

int truncate(const char *path, off_t n)
{
    return strikes('w', "truncate", path, -1, NULL, 0) ? -1 : REAL(truncate)(path, n);
}

int posix_fallocate(int fd, off_t from, off_t n)
{
    return strikes('w', "fallocate", path_of(fd), fd, NULL, 0) ? errno
                                                               : REAL(posix_fallocate)(fd, from, n);
}

int fsync(int fd)
{
    if (strikes('s', "fsync", path_of(fd), fd, NULL, 0)) return -1;
    int rc = REAL(fsync)(fd);
    lasts(fd, true);
    return rc;
}

int fdatasync(int fd)
{
    if (strikes('s', "fdatasync", path_of(fd), fd, NULL, 0)) return -1;
    int rc = REAL(fdatasync)(fd);
    lasts(fd, true);
    return rc;
}

int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t m = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    bool reads = (flags & O_ACCMODE) == O_RDONLY;
    if (strikes(!reads ? 'n' : strstr(path, ".kv") ? 'k' : 'r', "open", path, -1, NULL, 0))
        return -1;
    return REAL(open)(path, flags, m);
}

int rename(const char *from, const char *to)
{
    return strikes('n', "rename", to, -1, NULL, 0) ? -1 : REAL(rename)(from, to);
}

int unlink(const char *path)
{
    return strikes('n', "unlink", path, -1, NULL, 0) ? -1 : REAL(unlink)(path);
}

int unlinkat(int fd, const char *path, int flags)
{
    return strikes('n', "unlinkat", path_of(fd), -1, NULL, 0) ? -1
                                                              : REAL(unlinkat)(fd, path, flags);
}

int mkdir(const char *path, mode_t m)
{
    return strikes('n', "mkdir", path, -1, NULL, 0) ? -1 : REAL(mkdir)(path, m);
}

void *mmap(void *p, size_t n, int prot, int flags, int fd, off_t from)
{
    return STARVES('m', "mmap") ? MAP_FAILED : REAL(mmap)(p, n, prot, flags, fd, from);
}

void *malloc(size_t n)
{
    return STARVES('a', "malloc") ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return STARVES('a', "calloc") ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return STARVES('a', "realloc") ? NULL : __libc_realloc(p, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
    if (STARVES('a', "posix_memalign")) return ENOMEM;
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}

/* --- from the program's main on --- */

static int (*real_main)(int argc, char **argv, char **env);

static int main_with_faults(int argc, char **argv, char **env)
{
    const char *how = getenv("QUIRE_FAULT"), *log = getenv("QUIRE_FAULT_LOG");
    char word[8];
    if (how && log &&
        sscanf(how, "%7[^:]:%7[^:]:%ld:%lu:%199s", word, classes, &at, &seed, folder) == 5) {
        snprintf(log_path, sizeof log_path, "%s", log);
        mode = strcmp(word, "cut") == 0 ? 'p' : word[0];
        busy = true;
        dl_iterate_phdr(spare, NULL);
        if (mode == 'p') n_synced_names = list_all(synced_names, synced, &n_synced);
        busy = false;
        armed = true;
    }
    return real_main(argc, argv, env);
}

__attribute__((destructor)) static void tell_the_count(void)
{
    if (!armed || (mode != 'c' && seen > at)) return;
    armed = false;
    tell("%ld", seen);
}

int __libc_start_main(int (*f)(int, char **, char **), int argc, char **argv,
                      int (*init)(int, char **, char **), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);
int __libc_start_main(int (*f)(int, char **, char **), int argc, char **argv,
                      int (*init)(int, char **, char **), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    real_main = f;
    return REAL(__libc_start_main)(main_with_faults, argc, argv, init, fini, rtld_fini, stack_end);
}
