// Doors a writer closes behind itself once its disk is open.
#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int station_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0; }
int station_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0; }

int station_landlock_no_files(void) {
    // A ruleset that handles every right that this kernel knows, up to ABI 5, and grants none.
    static const int rights[] = {13, 14, 15, 15, 16};
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) return version < 0 ? -errno : -EOPNOTSUPP;
    struct landlock_ruleset_attr attributes = {.handled_access_fs = (1ULL << rights[version < 5 ? version - 1 : 4]) - 1};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
    if (ruleset < 0) return -errno;
    int result = (int)syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
    close(ruleset);
    return result;
}

#if defined(__x86_64__)
#define STATION_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define STATION_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

int station_seccomp_writer(void) {
#ifdef STATION_ARCHITECTURE
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, STATION_ARCHITECTURE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        // The card and the image.
        ALLOW(pread64), ALLOW(pwrite64), ALLOW(fsync), ALLOW(fdatasync), ALLOW(ioctl), ALLOW(fstat), ALLOW(lseek),
        ALLOW(close), ALLOW(fcntl),
        // The station.
        ALLOW(sendmsg), ALLOW(recvmsg), ALLOW(read), ALLOW(write), ALLOW(ppoll), ALLOW(shutdown),
        // Threads, memory, time, the end.
        ALLOW(futex), ALLOW(clone), ALLOW(clone3), ALLOW(set_robust_list), ALLOW(rseq), ALLOW(sched_yield),
        ALLOW(sched_getaffinity), ALLOW(rt_sigaction), ALLOW(rt_sigprocmask), ALLOW(rt_sigreturn), ALLOW(sigaltstack),
        ALLOW(mmap), ALLOW(munmap), ALLOW(mprotect), ALLOW(mremap), ALLOW(madvise), ALLOW(brk), ALLOW(getrandom),
        ALLOW(clock_gettime), ALLOW(clock_nanosleep), ALLOW(nanosleep), ALLOW(gettid), ALLOW(getpid), ALLOW(tgkill),
        ALLOW(restart_syscall), ALLOW(prctl), ALLOW(exit), ALLOW(exit_group), ALLOW(membarrier),
#ifdef __NR_poll
        ALLOW(poll),
#endif
        // Whatever else a library tries finds nothing: opening a file fails, it does not succeed.
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    // A positive result is a thread that could not be brought under the filter.
    if (result != 0) return result > 0 ? -ESRCH : -errno;
    return 0;
#else
    return -EOPNOTSUPP;
#endif
}
