/* The sandbox on Linux, by hand: no_new_privs, Landlock for files and TCP, a seccomp filter that
 * lists what serving needs. Elsewhere it is refused by name (sandbox_none.c). */
#define _GNU_SOURCE /* O_PATH, CLONE_THREAD */
#include "serve/sandbox.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- Landlock: its numbers, of all versions, for headers are often older than kernels ---- */

enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_ALL_V1 = (1 << 13) - 1,
    FS_REFER = 1 << 13,     /* version 2 */
    FS_TRUNCATE = 1 << 14,  /* 3 */
    FS_IOCTL_DEV = 1 << 15, /* 5 */
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_READ = FS_READ_FILE | FS_READ_DIR,
    FS_WRITE = FS_READ | FS_WRITE_FILE | FS_REMOVE_FILE | FS_REMOVE_DIR | FS_MAKE_DIR |
               FS_MAKE_REG | FS_REFER | FS_TRUNCATE,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
    NET_ALL = 3,   /* 4: bind and connect over TCP */
    SCOPE_ALL = 3, /* 6: abstract unix sockets and signals beyond the sandbox */
    RULE_PATH_BENEATH = 1,
    VERSION_FLAG = 1,
    NR_CREATE_RULESET = 444, /* the same on all architectures */
    NR_ADD_RULE = 445,
    NR_RESTRICT_SELF = 446,
};

typedef struct ruleset_attr {
    uint64_t handled_fs, handled_net, scoped;
} ruleset_attr;
typedef struct path_beneath_attr {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed)) path_beneath_attr;

static int landlock_version; /* in force; 0 = none */

/* What the system offers to every program: libraries, certificates, what /proc and /sys tell. */
static const char *const SYSTEM[] = {
    "/usr",          "/lib",          "/lib64", "/etc/ssl",     "/etc/localtime", "/proc/self",
    "/proc/cpuinfo", "/proc/meminfo", "/sys",   "/dev/urandom", "/dev/null"};

static uint64_t handled_by(int version) {
    uint64_t handled = FS_ALL_V1;
    if (version >= 2)
        handled |= FS_REFER;
    if (version >= 3)
        handled |= FS_TRUNCATE;
    if (version >= 5)
        handled |= FS_IOCTL_DEV;
    return handled;
}

/* What isn't there needs no rule. */
static hn_status allow_path(int ruleset, const char *path, uint64_t access, hn_error *err) {
    struct stat info;
    if (!path)
        return HN_OK;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return HN_OK;
    if (fstat(fd, &info) == 0 && !S_ISDIR(info.st_mode))
        access &= FS_OF_FILES;
    const path_beneath_attr rule = {access & handled_by(landlock_version), fd};
    long code = syscall(NR_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0);
    hn_status status = code == 0 ? HN_OK : hn_fail_errno(err, "%s: a rule of the sandbox", path);
    close(fd);
    return status;
}

/* The folder that a file lies in, so that the file may be replaced: keys and certificates are. */
static hn_status allow_folder_of(int ruleset, const char *path, uint64_t access, hn_error *err) {
    if (!path || strcmp(path, "-") == 0)
        return HN_OK;
    const char *slash = strrchr(path, '/');
    if (!slash)
        return allow_path(ruleset, ".", access, err);
    char *folder = hn_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (!folder)
        return hn_fail_no_memory(err, strlen(path));
    hn_status status = allow_path(ruleset, folder, access, err);
    hn_free(folder);
    return status;
}

static hn_status add_rules(int ruleset, const hn_serve_options *o, hn_error *err) {
    const char *const files[] = {o->http.keys_path, o->http.tls_cert, o->http.tls_key};
    for (size_t i = 0; i < sizeof SYSTEM / sizeof *SYSTEM; i++)
        HN_TRY(allow_path(ruleset, SYSTEM[i],
                          FS_READ | (strcmp(SYSTEM[i], "/dev/null") == 0 ? FS_WRITE_FILE : 0),
                          err));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        HN_TRY(allow_folder_of(ruleset, files[i], FS_READ, err));
    HN_TRY(allow_folder_of(ruleset, o->access_log, FS_READ_DIR | FS_WRITE_FILE | FS_MAKE_REG, err));
    HN_TRY(allow_folder_of(ruleset, o->http.unix_path, FS_REMOVE_FILE, err));
    for (size_t i = 0; o->readable && o->readable[i]; i++)
        HN_TRY(allow_path(ruleset, o->readable[i], FS_READ, err));
    for (size_t i = 0; o->writable && o->writable[i]; i++)
        HN_TRY(allow_path(ruleset, o->writable[i], FS_WRITE, err));
    return HN_OK;
}

static hn_status restrict_files(const hn_serve_options *options, hn_error *err) {
    const int version = (int)syscall(NR_CREATE_RULESET, NULL, 0, VERSION_FLAG);
    if (version < 1) /* a kernel without it, or one that has it turned off */
        return HN_OK;
    landlock_version = version;
    const ruleset_attr attr = {.handled_fs = handled_by(version),
                               .handled_net = version >= 4 ? NET_ALL : 0,
                               .scoped = version >= 6 ? SCOPE_ALL : 0};
    const size_t size = version >= 6   ? sizeof attr
                        : version >= 4 ? offsetof(ruleset_attr, scoped)
                                       : offsetof(ruleset_attr, handled_net);
    int ruleset = (int)syscall(NR_CREATE_RULESET, &attr, size, 0);
    if (ruleset < 0)
        return hn_fail_errno(err, "a Landlock sandbox (--no-sandbox goes without)");
    hn_status status = add_rules(ruleset, options, err);
    if (status == HN_OK && syscall(NR_RESTRICT_SELF, ruleset, 0) != 0)
        status = hn_fail_errno(err, "the Landlock sandbox (--no-sandbox goes without)");
    close(ruleset);
    return status;
}

hn_status hn_sandbox_files(const hn_serve_options *options, hn_error *err) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return hn_fail_errno(err, "no_new_privs (--no-sandbox goes without)");
    return restrict_files(options, err);
}

/* ---- seccomp ---- */

/* Calls that are allowed whatever their arguments: memory, threads, time, open descriptors, and
 * files (Landlock says which). Not there: execve, socket, connect, bind, ptrace, mounts, keys, bpf,
 * io_uring, other processes. */
static const int ALLOWED[] = {
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_close,
    SYS_lseek,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_sendto,
    SYS_sendmsg,
    SYS_sendfile,
    SYS_accept,
    SYS_accept4,
    SYS_shutdown,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_getsockname,
    SYS_getpeername,
    SYS_socketpair,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_ppoll,
    SYS_pselect6,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_pipe2,
    SYS_dup,
    SYS_dup3,
    SYS_fcntl,
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_mlock,
    SYS_munlock,
    SYS_msync,
    SYS_mincore,
    SYS_membarrier,
    SYS_futex,
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_rseq,
    SYS_exit,
    SYS_exit_group,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_gettid,
    SYS_getpid,
    SYS_set_tid_address,
    SYS_restart_syscall,
    SYS_getcpu,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigpending,
    SYS_sigaltstack,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_getrandom,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_uname,
    SYS_times,
    SYS_prctl,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getppid,
    SYS_getrlimit,
    SYS_openat,
    SYS_newfstatat,
    SYS_fstat,
    SYS_statx,
    SYS_statfs,
    SYS_fstatfs,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_getcwd,
    SYS_fadvise64,
    SYS_flock,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_mkdirat,
    SYS_fchmod,
    SYS_utimensat,
#ifdef __x86_64__
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_unlink,
    SYS_rename,
    SYS_mkdir,
    SYS_rmdir,
    SYS_poll,
    SYS_select,
    SYS_epoll_wait,
    SYS_epoll_create,
    SYS_pipe,
    SYS_dup2,
    SYS_getdents,
    SYS_time,
    SYS_arch_prctl,
#endif
};

#if defined(__x86_64__)
static const uint32_t ARCH = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
static const uint32_t ARCH = AUDIT_ARCH_AARCH64;
#else
static const uint32_t ARCH = 0;
#endif

enum {
    N_ALLOWED = sizeof ALLOWED / sizeof *ALLOWED,
    MAX_FILTER = 2 * N_ALLOWED + 64,
    DENY = SECCOMP_RET_ERRNO | EPERM,
};

typedef struct program {
    struct sock_filter lines[MAX_FILTER];
    unsigned short n;
} program;

static void line(program *p, uint16_t code, uint32_t k, uint8_t on_true, uint8_t on_false) {
    p->lines[p->n++] = (struct sock_filter){code, on_true, on_false, k};
}

static void load(program *p, size_t offset) {
    line(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void verdict(program *p, uint32_t value) {
    line(p, BPF_RET | BPF_K, value, 0, 0);
}

/* If the loaded word is `value`, the verdict. */
static void when(program *p, uint32_t value, uint32_t then) {
    line(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    verdict(p, then);
}

static size_t argument(int i) { /* the low half, on machines that begin with it */
    return offsetof(struct seccomp_data, args) + (size_t)i * sizeof(uint64_t);
}

static void write_filter(program *p) {
    load(p, offsetof(struct seccomp_data, arch));
    line(p, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    verdict(p, SECCOMP_RET_KILL_PROCESS);
    load(p, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < N_ALLOWED; i++)
        when(p, (uint32_t)ALLOWED[i], SECCOMP_RET_ALLOW);
    when(p, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS); /* its flags can't be seen: use clone */
    /* Threads, no processes. */
    line(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4);
    load(p, argument(0));
    line(p, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
    verdict(p, SECCOMP_RET_ALLOW);
    verdict(p, DENY);
    /* Signals to itself: abort. */
    line(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 4);
    load(p, argument(0));
    line(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 0, 1);
    verdict(p, SECCOMP_RET_ALLOW);
    verdict(p, DENY);
    /* Limits are read, not set. */
    line(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_prlimit64, 0, 4);
    load(p, argument(2));
    line(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
    verdict(p, SECCOMP_RET_ALLOW);
    verdict(p, DENY);
    line(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 8);
    load(p, argument(1));
    when(p, FIONREAD, SECCOMP_RET_ALLOW);
    when(p, FIONBIO, SECCOMP_RET_ALLOW);
    when(p, TCGETS, SECCOMP_RET_ALLOW); /* isatty */
    verdict(p, DENY);
    verdict(p, DENY); /* all others */
}

hn_status hn_sandbox_calls(char kept[HN_SANDBOX_TEXT_BYTES], hn_error *err) {
    program p = {.n = 0};
    char files[64] = "files and TCP are open (this kernel has no Landlock)";
    if (ARCH == 0)
        return hn_fail(err, HN_UNSUPPORTED, "no sandbox for this processor: use --no-sandbox");
    write_filter(&p);
    const struct sock_fprog filter = {.len = p.n, .filter = p.lines};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0)
        return hn_fail_errno(err, "the seccomp filter (--no-sandbox goes without)");
    if (landlock_version)
        snprintf(files, sizeof files, "Landlock %d", landlock_version);
    snprintf(kept, HN_SANDBOX_TEXT_BYTES, "sandbox: %d system calls, no new privileges, %s",
             (int)N_ALLOWED, files);
    return HN_OK;
}
