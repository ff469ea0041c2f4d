// Faults between the station and its host, for LD_PRELOAD. A file says what is wrong at the moment, and may be written while
// the station runs:
//
//   HOST_FAULTS=FILE    "FIRST COUNT ERRNO SECONDS": of the writes below a directory `store`, counted from when this text
//                       last changed, the first one that fails, how many fail, and with what; and how far the wall clock is
//                       off. Behind its first 64 bytes is told how many have failed, in eight bytes, the smallest first
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct faults {
    long long first, count, error, seconds;
};

static int faults_file = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HOST_FAULTS");
    if (path) faults_file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

static struct faults now(char text[64]) {
    struct faults faults = {0};
    // The bare call: the C library's own is one of those below.
    long got = faults_file < 0 ? 0 : syscall(SYS_pread64, faults_file, text, 63, 0);
    text[got > 0 ? got : 0] = 0;
    sscanf(text, "%lld %lld %lld %lld", &faults.first, &faults.count, &faults.error, &faults.seconds);
    return faults;
}

static int is_store(int descriptor) {
    char link[40], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, "/store/") != NULL;
}

// Whether this write is one that fails.
static int fails(int descriptor) {
    static char last[64];
    static long long seen, failed;
    char text[64];
    struct faults faults = now(text);
    if (faults.count == 0 || !is_store(descriptor)) return 0;
    pthread_mutex_lock(&lock);
    if (strcmp(last, text) != 0) {
        strcpy(last, text);
        seen = 0;
    }
    long long number = ++seen;
    int is_one = number >= faults.first && number < faults.first + faults.count;
    if (is_one) {
        failed++;
        syscall(SYS_pwrite64, faults_file, &failed, sizeof failed, 64);
    }
    pthread_mutex_unlock(&lock);
    if (!is_one) return 0;
    errno = (int)faults.error;
    return 1;
}

#define FAILING(type, name, parameters, arguments)     \
    type name parameters {                             \
        type(*real) parameters = next(#name);          \
        return fails(descriptor) ? -1 : real arguments; \
    }

FAILING(ssize_t, pwrite, (int descriptor, const void *bytes, size_t count, off_t offset), (descriptor, bytes, count, offset))
FAILING(ssize_t, pwrite64, (int descriptor, const void *bytes, size_t count, off_t offset), (descriptor, bytes, count, offset))
FAILING(ssize_t, write, (int descriptor, const void *bytes, size_t count), (descriptor, bytes, count))
FAILING(int, ftruncate, (int descriptor, off_t length), (descriptor, length))
FAILING(int, ftruncate64, (int descriptor, off_t length), (descriptor, length))
FAILING(int, fsync, (int descriptor), (descriptor))
FAILING(int, fdatasync, (int descriptor), (descriptor))

int clock_gettime(clockid_t clock, struct timespec *result) {
    int (*real)(clockid_t, struct timespec *) = next("clock_gettime");
    int code = real(clock, result);
    char text[64];
    if (code == 0 && clock == CLOCK_REALTIME) result->tv_sec += now(text).seconds;
    return code;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone) {
    int (*real)(struct timeval *, void *) = next("gettimeofday");
    int code = real(result, zone);
    char text[64];
    if (code == 0) result->tv_sec += now(text).seconds;
    return code;
}

time_t time(time_t *result) {
    struct timespec moment;
    clock_gettime(CLOCK_REALTIME, &moment);
    if (result) *result = moment.tv_sec;
    return moment.tv_sec;
}
