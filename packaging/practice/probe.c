/* What a program in the virtual bench sees: calls libudev and the C library as the product would, and prints
 * one "key value" line for each answer.
 *
 *   probe enumerate           every block device, with properties and parents
 *   probe monitor COUNT       "ready", then so many events of the block subsystem
 *   probe calls DEVICE SYSFS  each way to look at a node and at a sysfs directory
 *   probe child ARGUMENTS     runs itself again with these arguments
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libudev.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t)
#endif

static void show(struct udev_device *device) {
    struct udev_list_entry *entry;
    const char *action = udev_device_get_action(device);
    printf("DEVICE %s %s %s\n", action ? action : "-", udev_device_get_syspath(device),
           udev_device_get_devnode(device) ? udev_device_get_devnode(device) : "-");
    printf("number %u:%u initialized %d\n", major(udev_device_get_devnum(device)),
           minor(udev_device_get_devnum(device)), udev_device_get_is_initialized(device));
    udev_list_entry_foreach(entry, udev_device_get_properties_list_entry(device))
        printf("P %s=%s\n", udev_list_entry_get_name(entry), udev_list_entry_get_value(entry));
    const char *size = udev_device_get_sysattr_value(device, "size");
    printf("size %s\n", size ? size : "-");
    struct udev_device *usb = udev_device_get_parent_with_subsystem_devtype(device, "usb", "usb_device");
    if (usb)
        printf("usb %s speed %s vendor %s\n", udev_device_get_syspath(usb), udev_device_get_sysattr_value(usb, "speed"),
               udev_device_get_sysattr_value(usb, "idVendor"));
    struct udev_device *scsi = udev_device_get_parent_with_subsystem_devtype(device, "scsi", "scsi_device");
    if (scsi)
        printf("scsi %s\n", udev_device_get_sysname(scsi));
    struct udev_device *pci = udev_device_get_parent_with_subsystem_devtype(device, "pci", NULL);
    if (pci)
        printf("pci %s\n", udev_device_get_sysname(pci));
    printf("END\n");
    fflush(stdout);
}

static int enumerate(void) {
    struct udev *udev = udev_new();
    struct udev_enumerate *list = udev_enumerate_new(udev);
    struct udev_list_entry *entry;
    udev_enumerate_add_match_subsystem(list, "block");
    udev_enumerate_scan_devices(list);
    udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(list)) {
        struct udev_device *device = udev_device_new_from_syspath(udev, udev_list_entry_get_name(entry));
        if (device) {
            show(device);
            udev_device_unref(device);
        }
    }
    return 0;
}

static int monitor(int count) {
    struct udev *udev = udev_new();
    struct udev_monitor *monitor = udev_monitor_new_from_netlink(udev, "udev");
    udev_monitor_filter_add_match_subsystem_devtype(monitor, "block", NULL);
    if (udev_monitor_enable_receiving(monitor) < 0)
        return 1;
    printf("ready %d\n", udev_monitor_get_fd(monitor));
    fflush(stdout);
    while (count > 0) {
        struct pollfd poller = {.fd = udev_monitor_get_fd(monitor), .events = POLLIN};
        if (poll(&poller, 1, 10000) <= 0)
            return 2;
        struct udev_device *device = udev_monitor_receive_device(monitor);
        if (!device)
            continue;
        show(device);
        udev_device_unref(device);
        count--;
    }
    return 0;
}

static void tell(const char *name, int ok, const char *format, ...) {
    va_list list;
    va_start(list, format);
    printf("%s %s ", name, ok ? "yes" : "NO");
    vprintf(format, list);
    printf("\n");
    va_end(list);
}

/* The condition first, then the values to print: it fills them in. */
#define TELL(name, condition, ...) do { int ok_ = (condition); tell(name, ok_, __VA_ARGS__); } while (0)

static int walked;
static int walk(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)path, (void)st, (void)flag, (void)ftw;
    walked++;
    return 0;
}

static int calls(const char *node, const char *sysfs) {
    char path[PATH_MAX], text[PATH_MAX];
    struct stat st;
    struct statx sx;
    ssize_t length;
    errno = 0;

    int fd = open(node, O_RDONLY | O_CLOEXEC);
    TELL("open", fd >= 0, "%s", strerror(errno));
    uint64_t bytes = 0, sequence = 0;
    int sector = 0, read_only = -1;
    TELL("BLKGETSIZE64", ioctl(fd, BLKGETSIZE64, &bytes) == 0, "%llu", (unsigned long long)bytes);
    TELL("BLKSSZGET", ioctl(fd, BLKSSZGET, &sector) == 0, "%d", sector);
    TELL("BLKROGET", ioctl(fd, BLKROGET, &read_only) == 0, "%d", read_only);
    TELL("BLKGETDISKSEQ", ioctl(fd, BLKGETDISKSEQ, &sequence) == 0, "%llu", (unsigned long long)sequence);
    TELL("fstat", fstat(fd, &st) == 0 && S_ISBLK(st.st_mode), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
    memset(&sx, 0, sizeof sx);
    TELL("statx-empty-path", statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &sx) == 0 && S_ISBLK(sx.stx_mode), "%u:%u",
         sx.stx_rdev_major, sx.stx_rdev_minor);
    memset(&st, 0, sizeof st);
    TELL("fstatat-empty-path", fstatat(fd, "", &st, AT_EMPTY_PATH) == 0 && S_ISBLK(st.st_mode), "%u:%u",
         major(st.st_rdev), minor(st.st_rdev));
    close(fd);
    fd = open(node, O_RDWR | O_EXCL | O_DIRECT | O_CLOEXEC);
    TELL("open-excl-direct", fd >= 0, "%s", fd < 0 ? strerror(errno) : "");
    if (fd >= 0) {
        int second = open(node, O_RDONLY | O_EXCL | O_CLOEXEC);
        TELL("second-excl-is-busy", second < 0 && errno == EBUSY, "%s", strerror(errno));
        void *buffer = NULL;
        if (posix_memalign(&buffer, 4096, 4096))
            return 1;
        memset(buffer, 0x5a, 4096);
        TELL("pwrite", pwrite(fd, buffer, 4096, 0) == 4096, "%s", strerror(errno));
        TELL("pread", pread(fd, buffer, 4096, 0) == 4096, "%s", strerror(errno));
        TELL("fsync", fsync(fd) == 0, "%s", strerror(errno));
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        length = readlink(path, text, sizeof text - 1);
        text[length > 0 ? length : 0] = 0;
        TELL("readlink-proc-self-fd", length > 0 && !strcmp(text, node), "%s", text);
        close(fd);
    }
    memset(&st, 0, sizeof st);
    TELL("stat-node", stat(node, &st) == 0 && S_ISBLK(st.st_mode), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
    memset(&st, 0, sizeof st);
    TELL("lstat-node", lstat(node, &st) == 0 && S_ISBLK(st.st_mode), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
    memset(&sx, 0, sizeof sx);
    TELL("statx-node", statx(AT_FDCWD, node, 0, STATX_ALL, &sx) == 0 && S_ISBLK(sx.stx_mode), "%u:%u",
         sx.stx_rdev_major, sx.stx_rdev_minor);
    memset(&st, 0, sizeof st);
    TELL("fstatat-node", fstatat(AT_FDCWD, node, &st, 0) == 0 && S_ISBLK(st.st_mode), "%u:%u", major(st.st_rdev),
         minor(st.st_rdev));
    fd = openat(AT_FDCWD, node, O_RDONLY | O_CLOEXEC);
    memset(&st, 0, sizeof st);
    bytes = 0;
    TELL("openat-cwd", fd >= 0 && fstat(fd, &st) == 0 && S_ISBLK(st.st_mode), "%u:%u", major(st.st_rdev),
         minor(st.st_rdev));
    TELL("openat-cwd-ioctl", ioctl(fd, BLKGETSIZE64, &bytes) == 0, "%llu", (unsigned long long)bytes);
    if (fd >= 0)
        close(fd);
    int directory = open("/dev", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    fd = openat(directory, node + 5, O_RDONLY | O_CLOEXEC);
    memset(&st, 0, sizeof st);
    TELL("openat-dev-fd", fd >= 0 && fstat(fd, &st) == 0 && S_ISBLK(st.st_mode), "%u:%u", major(st.st_rdev),
         minor(st.st_rdev));
    if (fd >= 0)
        close(fd);
    if (directory >= 0)
        close(directory);
    fd = open(node, O_PATH | O_CLOEXEC);
    TELL("open-path", fd >= 0, "%s", fd < 0 ? strerror(errno) : "");
    if (fd >= 0) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int again = open(path, O_RDONLY | O_CLOEXEC);
        TELL("reopen-proc-self-fd", again >= 0, "%s", again < 0 ? strerror(errno) : "");
        if (again >= 0)
            close(again);
        close(fd);
    }

    snprintf(path, sizeof path, "%s/size", sysfs);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    TELL("sysfs-open", fd >= 0, "%s", fd < 0 ? strerror(errno) : "");
    if (fd >= 0)
        close(fd);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    TELL("sysfs-openat-cwd", fd >= 0, "%s", fd < 0 ? strerror(errno) : "");
    if (fd >= 0)
        close(fd);
    directory = open(sysfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    fd = openat(directory, "size", O_RDONLY | O_CLOEXEC);
    TELL("sysfs-openat-fd", fd >= 0, "%s", fd < 0 ? strerror(errno) : "");
    if (fd >= 0)
        close(fd);
    length = readlinkat(directory, "subsystem", text, sizeof text - 1);
    text[length > 0 ? length : 0] = 0;
    TELL("sysfs-readlinkat-fd", length > 0, "%s", text);
    close(directory);
    FILE *file = fopen(path, "re");
    TELL("sysfs-fopen", file != NULL, "%s", "");
    if (file)
        fclose(file);
    DIR *listing = opendir(sysfs);
    TELL("sysfs-opendir", listing != NULL, "%s", "");
    if (listing)
        closedir(listing);
    fd = open(sysfs, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    listing = fd >= 0 ? fdopendir(fd) : NULL;
    TELL("sysfs-fdopendir", listing != NULL && readdir(listing) != NULL, "%s", "");
    if (listing)
        closedir(listing);
    struct dirent **names = NULL;
    int count = scandir(sysfs, &names, NULL, alphasort);
    TELL("sysfs-scandir", count > 2, "%d", count);
    TELL("sysfs-nftw", (nftw(sysfs, walk, 8, FTW_PHYS), walked > 3), "%d", walked);
    TELL("sysfs-access", access(path, R_OK) == 0, "%s", "");
    TELL("sysfs-faccessat", faccessat(AT_FDCWD, path, R_OK, 0) == 0, "%s", "");
    TELL("sysfs-euidaccess", euidaccess(path, R_OK) == 0, "%s", "");
    TELL("sysfs-stat", stat(path, &st) == 0, "%s", "");
    TELL("sysfs-statx", statx(AT_FDCWD, path, 0, STATX_ALL, &sx) == 0, "%s", "");
    snprintf(path, sizeof path, "%s/subsystem", sysfs);
    length = readlink(path, text, sizeof text - 1);
    text[length > 0 ? length : 0] = 0;
    TELL("sysfs-readlink", length > 0, "%s", text);
    TELL("sysfs-lstat-link", lstat(path, &st) == 0 && S_ISLNK(st.st_mode), "%s", "");
    snprintf(path, sizeof path, "/sys/class/block/%s", node + 5);
    TELL("realpath", realpath(path, text) != NULL && !strcmp(text, sysfs), "%s", text);
    char *allocated = realpath(path, NULL);
    TELL("realpath-null", allocated && !strcmp(allocated, sysfs), "%s", allocated ? allocated : "");
    allocated = canonicalize_file_name(path);
    TELL("canonicalize_file_name", allocated && !strcmp(allocated, sysfs), "%s", allocated ? allocated : "");
    int back = open(".", O_PATH | O_CLOEXEC);
    TELL("chdir-getcwd", chdir(path) == 0 && getcwd(text, sizeof text) && !strcmp(text, sysfs), "%s", text);
    if (fchdir(back))
        return 1;
    snprintf(path, sizeof path, "%s/size", sysfs);
    fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    TELL("syscall-openat", fd >= 0, "%s", fd < 0 ? strerror(errno) : "");
    snprintf(path, sizeof path, "/run/udev/data/b%u:%u", 7, 0);
    TELL("run-udev", access(path, F_OK) == 0, "%s", "");
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 2 && !strcmp(argv[1], "enumerate"))
        return enumerate();
    if (argc >= 3 && !strcmp(argv[1], "monitor"))
        return monitor(atoi(argv[2]));
    if (argc >= 4 && !strcmp(argv[1], "calls"))
        return calls(argv[2], argv[3]);
    if (argc >= 3 && !strcmp(argv[1], "child")) {
        pid_t child = fork();
        if (child == 0) {
            argv[1] = argv[0];
            execv("/proc/self/exe", argv + 1);
            _exit(127);
        }
        int status = 0;
        waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    }
    return 64;
}
