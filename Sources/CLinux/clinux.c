#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/kd.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t)
#endif

const int station_o_direct = O_DIRECT;
const int station_o_excl = O_EXCL;
const int station_o_nofollow = O_NOFOLLOW;
const int station_o_cloexec = O_CLOEXEC;
const int station_o_path = O_PATH;
const int station_o_tmpfile = O_TMPFILE;

int station_open_beneath(int directory, const char *path, int flags) {
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

int station_block_byte_count(int fd, uint64_t *bytes) { return ioctl(fd, BLKGETSIZE64, bytes); }
int station_block_sector_size(int fd, int *bytes) { return ioctl(fd, BLKSSZGET, bytes); }
int station_block_request_sectors(int fd, unsigned short *sectors) { return ioctl(fd, BLKSECTGET, sectors); }
int station_block_optimal_size(int fd, unsigned *bytes) { return ioctl(fd, BLKIOOPT, bytes); }
int station_block_is_read_only(int fd, int *flag) { return ioctl(fd, BLKROGET, flag); }
int station_block_sequence(int fd, uint64_t *sequence) { return ioctl(fd, BLKGETDISKSEQ, sequence); }
int station_block_discard(int fd, uint64_t offset, uint64_t count) {
    uint64_t range[2] = {offset, count};
    return ioctl(fd, BLKDISCARD, range);
}

unsigned station_major(dev_t device) { return major(device); }
unsigned station_minor(dev_t device) { return minor(device); }
int station_is_block(mode_t mode) { return S_ISBLK(mode); }
int station_is_regular(mode_t mode) { return S_ISREG(mode); }

enum { max_descriptors = 8 };

ssize_t station_send(int fd, const void *bytes, size_t count, const int *descriptors, int descriptor_count,
                     int flags) {
    struct iovec vector = {.iov_base = (void *)bytes, .iov_len = count};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * max_descriptors)];
    } control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (descriptor_count > max_descriptors) {
        errno = EINVAL;
        return -1;
    }
    if (descriptor_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)descriptor_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)descriptor_count);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * (size_t)descriptor_count);
    }
    return sendmsg(fd, &message, flags | MSG_NOSIGNAL);
}

ssize_t station_receive(int fd, void *bytes, size_t count, int *descriptors, int capacity, int *received,
                        int *truncated, int flags) {
    struct iovec vector = {.iov_base = bytes, .iov_len = count};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * max_descriptors)];
    } control;
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control};
    *received = 0;
    *truncated = 0;
    ssize_t result = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
    if (result < 0) return result;
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) *truncated = 1;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t found = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < found; index++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(header) + index * sizeof(int), sizeof(int));
            if (*received < capacity) {
                descriptors[(*received)++] = descriptor;
            } else {
                close(descriptor);
                *truncated = 1;
            }
        }
    }
    return result;
}

int station_peer_user(int fd, uint32_t *user, uint32_t *group, int32_t *process) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    int result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length);
    if (result == 0) {
        *user = credentials.uid;
        *group = credentials.gid;
        *process = credentials.pid;
    }
    return result;
}

int station_peer_groups(int fd, uint32_t *groups, int *count) {
    socklen_t length = (socklen_t)(sizeof(gid_t) * (size_t)*count);
    int result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length);
    if (result == 0) *count = (int)(length / sizeof(gid_t));
    return result;
}

int station_socket_pair(int type, int pair[2]) { return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair); }

static int unix_address(const char *path, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address->sun_path, path);
    return 0;
}

static int close_keeping_errno(int fd) {
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int station_listen_unix(const char *path, int type, unsigned mode, int backlog) {
    struct sockaddr_un address;
    if (unix_address(path, &address) < 0) return -1;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) return close_keeping_errno(fd);
    if (chmod(path, mode) < 0 || listen(fd, backlog) < 0) return close_keeping_errno(fd);
    return fd;
}

int station_connect_unix(const char *path, int type) {
    struct sockaddr_un address;
    if (unix_address(path, &address) < 0) return -1;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return close_keeping_errno(fd);
    return fd;
}

int station_accept(int fd, int nonblocking) {
    return accept4(fd, NULL, NULL, SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0));
}

int station_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int station_epoll_arm(int epoll, int is_new, int fd, uint64_t id, int reads, int writes) {
    struct epoll_event event = {.events = EPOLLONESHOT, .data.u64 = id};
    if (reads) event.events |= EPOLLIN;
    if (writes) event.events |= EPOLLOUT;
    return epoll_ctl(epoll, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
}

int station_epoll_remove(int epoll, int fd) { return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); }

int station_epoll_wait(int epoll, uint64_t *ids, uint32_t *flags, int capacity) {
    struct epoll_event events[32];
    int count = epoll_wait(epoll, events, capacity < 32 ? capacity : 32, -1);
    for (int i = 0; i < count; i++) {
        uint32_t is_over = events[i].events & (EPOLLHUP | EPOLLERR);
        ids[i] = events[i].data.u64;
        flags[i] = (is_over || events[i].events & EPOLLIN ? 1 : 0) | (is_over || events[i].events & EPOLLOUT ? 2 : 0);
    }
    return count;
}

int station_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

char **station_environment(void) { return environ; }

pid_t station_spawn(const char *path, char *const argv[], char *const envp[], const int *descriptors, int count) {
    int report[2];
    // Opened here: between fork and execve nothing may wait for a lock that another thread held at that moment.
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return -errno;
    if (pipe2(report, O_CLOEXEC) < 0) {
        int error = errno;
        close(null);
        return -error;
    }
    // fork, not posix_spawn: descriptors must be moved past each other, and signals set to their defaults.
    pid_t child = fork();
    if (child < 0) {
        int error = errno;
        close(null);
        close(report[0]);
        close(report[1]);
        return -error;
    }
    if (child == 0) {
        sigset_t none;
        sigemptyset(&none);
        for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
        sigprocmask(SIG_SETMASK, &none, NULL);
        int base = count > 3 ? count : 3;
        int reporting = fcntl(report[1], F_DUPFD_CLOEXEC, base + 32);
        int moved[max_descriptors + 3];
        int failed = count > max_descriptors + 3 || reporting < 0;
        for (int index = 0; index < count && !failed; index++) {
            int source = descriptors[index] < 0 ? null : descriptors[index];
            moved[index] = fcntl(source, F_DUPFD_CLOEXEC, base + 32);
            failed = moved[index] < 0;
        }
        for (int index = 0; index < count && !failed; index++) failed = dup2(moved[index], index) < 0;
        if (!failed) execve(path, argv, envp);
        int error = errno;
        (void)!write(reporting, &error, sizeof error);
        _exit(127);
    }
    close(null);
    close(report[1]);
    int error = 0;
    ssize_t got;
    do {
        got = read(report[0], &error, sizeof error);
    } while (got < 0 && errno == EINTR);
    close(report[0]);
    if (got > 0) {
        waitpid(child, NULL, 0);
        return -error;
    }
    return child;
}

int station_exit_code(int status, int *signal) {
    *signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int station_sync_file_system(int fd) { return syncfs(fd); }

int station_exchange(const char *path, const char *other) {
    return renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE);
}

int station_rename_new(const char *path, const char *target) {
    return renameat2(AT_FDCWD, path, AT_FDCWD, target, RENAME_NOREPLACE);
}

off_t station_next_data(int fd, off_t offset) { return lseek(fd, offset, SEEK_DATA); }

off_t station_next_hole(int fd, off_t offset) { return lseek(fd, offset, SEEK_HOLE); }

int station_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int station_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int station_signal_descriptor(const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int index = 0; index < count; index++) sigaddset(&set, signals[index]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int station_take_signal(int fd) {
    struct signalfd_siginfo information;
    return read(fd, &information, sizeof information) == sizeof information ? (int)information.ssi_signo : 0;
}

int station_clock_is_synchronised(void) {
    struct timex state = {0};
    int answer = adjtimex(&state);
    // A sandbox that forbids the question knows nothing of the clock.
    return answer >= 0 && answer != TIME_ERROR;
}

int station_console_characters(int fd, uint16_t *characters, int room) {
    struct unipair *pairs = calloc((size_t)room, sizeof *pairs);
    struct unimapdesc map = {.entry_ct = (unsigned short)room, .entries = pairs};
    int count = pairs && ioctl(fd, GIO_UNIMAP, &map) == 0 ? map.entry_ct : -1;
    for (int index = 0; index < count; index++) characters[index] = pairs[index].unicode;
    free(pairs);
    return count;
}
