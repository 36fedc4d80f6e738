#include "ingest/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0
#endif

/* The sanitizers reserve terabytes of address space. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(QU_LIBFUZZER)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static qu_status set_limits(qu_err *err)
{
    const struct {
        int what;
        rlim_t most;
    } limits[] = {{RLIMIT_CPU, QU_SANDBOX_CPU_SECONDS},
                  {RLIMIT_FSIZE, 0},
                  {RLIMIT_CORE, 0},
                  {RLIMIT_AS, SANITIZED ? RLIM_INFINITY : QU_SANDBOX_MEMORY_BYTES}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit now, want = {limits[i].most, limits[i].most};
        if (getrlimit((unsigned)limits[i].what, &now) == 0 && now.rlim_max <= want.rlim_max)
            continue;
        if (setrlimit((unsigned)limits[i].what, &want) != 0)
            return qu_fail(err, QU_ERR_IO, "cannot limit a parser: %s", strerror(errno));
    }
    return QU_OK;
}

/* --- Landlock: which files. The structs are the kernel's; headers may be older than it. --- */

enum {
    FS_EXECUTE = 1,
    FS_READ_FILE = 4,
    FS_READ_DIR = 8,
    FS_FIRST = (1 << 13) - 1, /* rights of version 1 */
};

static void allow_below(int rules, const char *path, uint64_t rights)
{
    struct __attribute__((packed)) {
        uint64_t rights;
        int32_t fd;
    } rule = {rights, open(path, O_PATH | O_CLOEXEC)};
    if (rule.fd < 0) return;
    syscall(SYS_landlock_add_rule, rules, 1, &rule, 0);
    close(rule.fd);
}

/* Whatever this kernel knows to restrict; one without Landlock is left to seccomp. */
static void restrict_files(const char *program)
{
    static const char *const folders[] = {"/usr", "/lib", "/lib64", "/etc/fonts", NULL};
    struct {
        uint64_t files, net, scoped;
    } handled = {FS_FIRST, 0, 0};
    size_t size = sizeof handled.files;
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    if (version < 1) return;
    if (version >= 2) handled.files |= 1 << 13;
    if (version >= 3) handled.files |= 1 << 14;
    if (version >= 4) handled.net = 3, size = 16;    /* TCP */
    if (version >= 6) handled.scoped = 3, size = 24; /* abstract sockets, signals */
    int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
    if (rules < 0) return;
    for (int i = 0; folders[i]; i++) allow_below(rules, folders[i], FS_READ_FILE | FS_READ_DIR);
    allow_below(rules, "/etc/ld.so.cache", FS_READ_FILE);
    if (program) {
        static const char *const loaders[] = {"/lib64/ld-linux-x86-64.so.2",
                                              "/lib/ld-linux-aarch64.so.1", NULL};
        allow_below(rules, program, FS_READ_FILE | FS_EXECUTE);
        for (int i = 0; loaders[i]; i++) allow_below(rules, loaders[i], FS_READ_FILE | FS_EXECUTE);
    }
    syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
}

/* --- seccomp: which calls --- */

/* clang-format off */
static const uint16_t allowed[] = {
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_lseek, SYS_close, SYS_fstat,
    SYS_newfstatat, SYS_statx, SYS_faccessat, SYS_readlinkat, SYS_getdents64, SYS_dup,
    SYS_mmap, SYS_mprotect, SYS_munmap, SYS_mremap, SYS_brk, SYS_madvise, SYS_rt_sigaction,
    SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_futex, SYS_sched_yield,
    SYS_sched_getaffinity, SYS_getpid, SYS_gettid, SYS_getuid, SYS_geteuid, SYS_getgid,
    SYS_getegid, SYS_getcwd, SYS_uname, SYS_sysinfo, SYS_clock_gettime, SYS_clock_nanosleep,
    SYS_gettimeofday, SYS_getrandom, SYS_ppoll, SYS_exit, SYS_exit_group, SYS_set_tid_address,
    SYS_set_robust_list, SYS_rseq,
#ifdef __x86_64__
    SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_poll, SYS_arch_prctl, SYS_time,
#endif
};

/* More for one that starts a program. */
static const uint16_t starting[] = {
    SYS_execve, SYS_wait4, SYS_waitid, SYS_pipe2, SYS_dup3,
#ifdef __x86_64__
    SYS_vfork, SYS_fork, SYS_dup2,
#endif
};
/* clang-format on */

/* Calls that are allowed by an argument: where (arg & mask) == value. */
typedef struct checked {
    uint32_t call, arg, mask, value;
} checked;

enum {
    WRITES = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY),
    NAMESPACES = 0x7E020000, /* CLONE_NEW... */
    LOW = offsetof(struct seccomp_data, args), /* low half of argument 0: little-endian */
    NUMBER = offsetof(struct seccomp_data, nr),
    N_ALLOWED = sizeof allowed / sizeof *allowed,
    N_STARTING = sizeof starting / sizeof *starting,
};

static qu_status filter_calls(bool starts, qu_err *err)
{
    const checked some[] = {
        {SYS_openat, 2, WRITES, O_RDONLY},
        {SYS_prlimit64, 0, ~0u, 0},
        {SYS_tgkill, 0, ~0u, (uint32_t)getpid()}, /* abort() */
        {SYS_fcntl, 1, ~3u, 0}, /* not F_SETOWN, which sends signals */
        {SYS_fcntl, 1, ~0u, F_DUPFD_CLOEXEC},
#ifdef __x86_64__
        {SYS_open, 1, WRITES, O_RDONLY},
#endif
        {SYS_clone, 0, starts ? NAMESPACES : 0, starts ? 0 : 1}, /* without a program: never */
    };
    const struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_filter load = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NUMBER);
    struct sock_filter f[256] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    unsigned n = 3;
    f[n++] = load;
    for (size_t i = 0; i < N_ALLOWED + (starts ? N_STARTING : 0); i++) {
        uint32_t call = i < N_ALLOWED ? allowed[i] : starting[i - N_ALLOWED];
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
        f[n++] = allow;
    }
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, some[i].call, 0, 5);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW + 8 * some[i].arg);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, some[i].mask);
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, some[i].value, 0, 1);
        f[n++] = allow;
        f[n++] = load;
    }
    /* "Not there", as of an older kernel: the C library then takes the older call. */
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    struct sock_fprog program = {(unsigned short)n, f};
    if (ARCH == 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return qu_fail(err, QU_ERR_UNSUPPORTED, "cannot confine a parser: no seccomp filters here");
    return QU_OK;
}

qu_status qu_sandbox_enter(const char *program, qu_err *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return qu_fail(err, QU_ERR_UNSUPPORTED, "cannot confine a parser: %s", strerror(errno));
    QU_TRY(set_limits(err));
    restrict_files(program);
    return filter_calls(program != NULL, err);
}
