// Faults between the real writer and the C library, for LD_PRELOAD. Environment, all byte offsets on a block device:
//
//   SHIM_WRITE_ERROR_AT=N     a write that covers N fails with EIO
//   SHIM_WRITE_SHORT_AT=N     a write that covers N writes only its first half, and says so
//   SHIM_READ_ERROR_AT=N      a read that covers N fails with EIO
//   SHIM_READ_SHORT_AT=N      a read that covers N gives only its first half, and says so
//   SHIM_READ_STUCK_AT=N      a read that covers N gives what the very first such read gave
//   SHIM_READ_HANG_AT=N       a read that covers N never returns
//   SHIM_FSYNC_ERROR=N        the Nth fsync fails with EIO
//   SHIM_NO_DIRECT=1          O_DIRECT is left out when a block device is opened: the page cache answers
//   SHIM_REFUSE_DIRECT=1      opening a block device with O_DIRECT fails with EINVAL
//   SHIM_LOST_AT=N            a long request that covers N moves nothing, and says that it did
//   SHIM_READ_ONLY=1          the device says that it is write-protected, and takes writes all the same
//   SHIM_SEQUENCE_FILE=FILE   the number in it is added to the disk sequence number
//   SHIM_SEQUENCE_AFTER=N     after N questions for the disk sequence number the answer is another one
//   SHIM_WRITER_SEQUENCE=1    a descriptor that may write tells another sequence number
//   SHIM_SECTOR=N             the logical sectors have N bytes
//   SHIM_COUNT_TO=FILE        write down how often the disk sequence number was asked for
//   SHIM_TRY_FILES=PREFIX     try to get at files in every way, at the start and at the first write
//   SHIM_REPORT_TO=FILE       gets the errnos of that
//   SHIM_NO_SECCOMP=1         the kernel has no seccomp
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static long long setting(const char *name) {
    const char *text = getenv(name);
    return text ? atoll(text) : -1;
}

static int is_block(int descriptor) {
    // The bare call: the preload library of the virtual bench has ideas of its own about what a node is.
    struct stat status;
    return syscall(SYS_fstat, descriptor, &status) == 0 && S_ISBLK(status.st_mode);
}

static int covers(const char *name, off_t offset, size_t count) {
    long long place = setting(name);
    return place >= 0 && offset <= place && place < offset + (long long)count;
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

static int counter = -1, report = -1, sequence = -1;

static void tell(const char *when, const char *what, long result) {
    char line[80];
    int length = snprintf(line, sizeof line, "%s %s %d\n", when, what, result < 0 ? errno : 0);
    if (write(report, line, (size_t)length) < 0) abort();
}

// With the bare system calls: what the kernel itself says. `prefix`.WHEN.WHAT are files that are there for it.
static void try_files(const char *when, const char *prefix) {
    char path[300], fresh[320];
    long result;
#define AT(what) (snprintf(path, sizeof path, "%s.%s.%s", prefix, when, what), snprintf(fresh, sizeof fresh, "%s.new", path), path)
#define OPEN(what, path, flags)                                             \
    result = syscall(SYS_openat, AT_FDCWD, path, (flags) | O_CLOEXEC, 0600); \
    tell(when, what, result);                                               \
    if (result >= 0) close((int)result)
    OPEN("read", AT("read"), O_RDONLY);
    OPEN("write", AT("write"), O_WRONLY);
    OPEN("create", AT("created"), O_WRONLY | O_CREAT);
    OPEN("disk", "/dev/loop0", O_RDWR);
    tell(when, "truncate", syscall(SYS_truncate, AT("truncate"), 0L));
    tell(when, "link", syscall(SYS_linkat, AT_FDCWD, AT("link"), AT_FDCWD, fresh, 0));
    tell(when, "rename", syscall(SYS_renameat2, AT_FDCWD, AT("rename"), AT_FDCWD, fresh, 0));
    tell(when, "unlink", syscall(SYS_unlinkat, AT_FDCWD, AT("unlink"), 0));
    tell(when, "directory", syscall(SYS_mkdirat, AT_FDCWD, AT("directory"), 0700));
    tell(when, "node", syscall(SYS_mknodat, AT_FDCWD, AT("node"), S_IFBLK | 0600, 0));
    // Where it is let do that, this program ends here.
    if (strcmp(when, "after") == 0) {
        char *const words[] = {"true", NULL}, *const none[] = {NULL};
        tell(when, "execute", syscall(SYS_execve, "/bin/true", words, none));
    }
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_COUNT_TO");
    if (path) counter = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
    path = getenv("SHIM_REPORT_TO");
    if (path) report = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
    path = getenv("SHIM_SEQUENCE_FILE");
    if (path) sequence = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (getenv("SHIM_TRY_FILES")) try_files("before", getenv("SHIM_TRY_FILES"));
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    long values[6];
    va_list list;
    va_start(list, number);
    for (int index = 0; index < 6; index++) values[index] = va_arg(list, long);
    va_end(list);
    if (number == SYS_seccomp && setting("SHIM_NO_SECCOMP") == 1) {
        errno = ENOSYS;
        return -1;
    }
    if (!real) real = next("syscall");
    return real(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}

static ssize_t any_write(const char *name, int descriptor, const void *buffer, size_t count, off_t offset) {
    ssize_t (*real)(int, const void *, size_t, off_t) = next(name);
    static atomic_flag tried = ATOMIC_FLAG_INIT;
    if (is_block(descriptor)) {
        if (getenv("SHIM_TRY_FILES") && !atomic_flag_test_and_set(&tried)) try_files("after", getenv("SHIM_TRY_FILES"));
        if (covers("SHIM_WRITE_ERROR_AT", offset, count)) {
            errno = EIO;
            return -1;
        }
        if (covers("SHIM_WRITE_SHORT_AT", offset, count)) count /= 2;
        if (count > 4096 && covers("SHIM_LOST_AT", offset, count)) return (ssize_t)count;
    }
    return real(descriptor, buffer, count, offset);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *stuck;
static size_t stuck_count;
static off_t stuck_offset;

static ssize_t any_read(const char *name, int descriptor, void *buffer, size_t count, off_t offset) {
    ssize_t (*real)(int, void *, size_t, off_t) = next(name);
    if (is_block(descriptor)) {
        if (covers("SHIM_READ_ERROR_AT", offset, count)) {
            errno = EIO;
            return -1;
        }
        while (covers("SHIM_READ_HANG_AT", offset, count)) sleep(1000);
        if (covers("SHIM_READ_SHORT_AT", offset, count)) count /= 2;
        // Not the guard's, which reads less at a time.
        if (count > 65536 && covers("SHIM_LOST_AT", offset, count)) return (ssize_t)count;
    }
    ssize_t got = real(descriptor, buffer, count, offset);
    // Only what the job reads: the guard's reads of a few bytes are something else.
    if (got > 0 && count >= 4096 && is_block(descriptor) && covers("SHIM_READ_STUCK_AT", offset, count)) {
        pthread_mutex_lock(&lock);
        off_t place = setting("SHIM_READ_STUCK_AT") / 4096 * 4096;
        if (!stuck) {
            stuck = malloc(4096);
            stuck_offset = place;
            stuck_count = 4096;
            memcpy(stuck, (char *)buffer + (place - offset), stuck_count);
        }
        memcpy((char *)buffer + (stuck_offset - offset), stuck, stuck_count);
        pthread_mutex_unlock(&lock);
    }
    return got;
}

ssize_t pwrite(int d, const void *b, size_t c, off_t o) { return any_write("pwrite", d, b, c, o); }
ssize_t pwrite64(int d, const void *b, size_t c, off_t o) { return any_write("pwrite64", d, b, c, o); }
ssize_t pread(int d, void *b, size_t c, off_t o) { return any_read("pread", d, b, c, o); }
ssize_t pread64(int d, void *b, size_t c, off_t o) { return any_read("pread64", d, b, c, o); }

int fsync(int descriptor) {
    static atomic_int count;
    int (*real)(int) = next("fsync");
    if (is_block(descriptor) && ++count == setting("SHIM_FSYNC_ERROR")) {
        errno = EIO;
        return -1;
    }
    return real(descriptor);
}

static int any_open(const char *name, int directory, const char *path, int flags, mode_t mode) {
    int (*real)(int, const char *, int, ...) = next(name);
    if (flags & O_DIRECT) {
        if (setting("SHIM_REFUSE_DIRECT") == 1) {
            errno = EINVAL;
            return -1;
        }
        if (setting("SHIM_NO_DIRECT") == 1) flags &= ~O_DIRECT;
    }
    return real(directory, path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return any_open("openat", directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return any_open("openat64", directory, path, flags, mode);
}

int ioctl(int descriptor, unsigned long request, ...) {
    static atomic_llong questions;
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    int (*real)(int, unsigned long, ...) = next("ioctl");
    int result = real(descriptor, request, argument);
    if (result < 0) return result;
    if (request == BLKGETDISKSEQ) {
        long long after = setting("SHIM_SEQUENCE_AFTER");
        int mode = fcntl(descriptor, F_GETFL) & O_ACCMODE;
        char text[24] = {0};
        long long count = ++questions;
        int length = snprintf(text, sizeof text, "%lld", count);
        if (counter >= 0 && length > 0 && next("pwrite")) {
            ssize_t (*put)(int, const void *, size_t, off_t) = next("pwrite");
            if (put(counter, text, sizeof text, 0) < 0) abort();
        }
        if (after >= 0 && count > after) *(unsigned long long *)argument += 1;
        char more[24] = {0};
        ssize_t (*get)(int, void *, size_t, off_t) = next("pread");
        if (sequence >= 0 && get(sequence, more, sizeof more - 1, 0) > 0)
            *(unsigned long long *)argument += strtoull(more, NULL, 10);
        if (setting("SHIM_WRITER_SEQUENCE") == 1 && mode == O_RDWR) *(unsigned long long *)argument += 1;
    }
    if (request == BLKROGET && setting("SHIM_READ_ONLY") == 1) *(int *)argument = 1;
    if (request == BLKSSZGET && setting("SHIM_SECTOR") > 0) *(int *)argument = (int)setting("SHIM_SECTOR");
    return result;
}
