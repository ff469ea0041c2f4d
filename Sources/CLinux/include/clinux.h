// What Glibc's module does not show to Swift: GNU names, ioctl macros, ancillary data, and calls without a wrapper.
// Every function returns what the call returns and leaves errno as the call left it.
#ifndef CLINUX_H
#define CLINUX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Flags and numbers.
extern const int station_o_direct;
extern const int station_o_excl;
extern const int station_o_nofollow;
extern const int station_o_cloexec;
extern const int station_o_path;
extern const int station_o_tmpfile;

// Files below a directory: no link on the way, and no way out. Corresponds to openat2(2) with RESOLVE_BENEATH,
// RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS; O_CLOEXEC is added.
int station_open_beneath(int directory, const char *path, int flags);

// Makes everything that was written to the file system of a descriptor last. Corresponds to syncfs(2).
int station_sync_file_system(int fd);

// Gives a file or directory another name: with the one that has it, or only if none has. Corresponds to renameat2(2) with
// RENAME_EXCHANGE and RENAME_NOREPLACE.
int station_exchange(const char *path, const char *other);
int station_rename_new(const char *path, const char *target);

// Where a file has bytes, or none, from an offset on. Corresponds to lseek(2) with SEEK_DATA and SEEK_HOLE.
off_t station_next_data(int fd, off_t offset);
off_t station_next_hole(int fd, off_t offset);

// Close-on-exec at both ends. Corresponds to pipe2(2).
int station_pipe(int ends[2]);

// Block devices: corresponds to BLKGETSIZE64, BLKSSZGET, BLKSECTGET, BLKIOOPT, BLKROGET, BLKGETDISKSEQ, BLKDISCARD.
int station_block_byte_count(int fd, uint64_t *bytes);
int station_block_sector_size(int fd, int *bytes);
int station_block_request_sectors(int fd, unsigned short *sectors);
int station_block_optimal_size(int fd, unsigned *bytes);
int station_block_is_read_only(int fd, int *flag);
int station_block_sequence(int fd, uint64_t *sequence);
int station_block_discard(int fd, uint64_t offset, uint64_t count);

// Device numbers.
unsigned station_major(dev_t device);
unsigned station_minor(dev_t device);
int station_is_block(mode_t mode);
int station_is_regular(mode_t mode);

// epoll, one event at a time for each descriptor: after it was told, nothing more until it is armed again. `id` is what
// station_epoll_wait gives back, with flags of 1 for reading and 2 for writing, both where the other end has hung up. Waits for
// as long as it takes.
int station_epoll_create(void);
int station_epoll_arm(int epoll, int is_new, int fd, uint64_t id, int reads, int writes);
int station_epoll_remove(int epoll, int fd);
int station_epoll_wait(int epoll, uint64_t *ids, uint32_t *flags, int capacity);

// Sockets. Descriptors go as SCM_RIGHTS; flags are those of sendmsg and recvmsg.
ssize_t station_send(int fd, const void *bytes, size_t count, const int *descriptors, int descriptor_count, int flags);
// Received descriptors are close-on-exec; more than capacity of them are closed and reported by *truncated.
ssize_t station_receive(int fd, void *bytes, size_t count, int *descriptors, int capacity, int *received,
                        int *truncated, int flags);
int station_peer_user(int fd, uint32_t *user, uint32_t *group, int32_t *process);
// SO_PEERGROUPS: *count is the capacity before and the number after.
int station_peer_groups(int fd, uint32_t *groups, int *count);
int station_socket_pair(int type, int pair[2]);
int station_listen_unix(const char *path, int type, unsigned mode, int backlog);
int station_connect_unix(const char *path, int type);
int station_accept(int fd, int nonblocking);

// Processes.
int station_pidfd_open(pid_t pid);
// Starts a program with descriptors[i] as descriptor i (0…count-1; -1 is /dev/null), default signals, no signal blocked,
// and, if die_with_parent, SIGKILL when the parent's thread dies. Returns the pid or -errno.
// The environment of this process.
char **station_environment(void);
pid_t station_spawn(const char *path, char *const argv[], char *const envp[], const int *descriptors, int count);
int station_exit_code(int status, int *signal);
int station_eventfd(void);
// Signals that are read instead of delivered: they are blocked from here on. Corresponds to signalfd(2).
int station_signal_descriptor(const int *signals, int count);
// The number of a signal that came; 0 when none waits.
int station_take_signal(int fd);

// Whether a time source has set the wall clock: adjtimex without TIME_ERROR.
int station_clock_is_synchronised(void);

// The characters that the font of a Linux console has, in no order and perhaps twice: how many were put into the room for `room` of
// them, or -1 where the descriptor is no such console, or there are more. Corresponds to GIO_UNIMAP of ioctl_console(2).
int station_console_characters(int fd, uint16_t *characters, int room);

// Sandbox. Each returns 0, or -errno; -EOPNOTSUPP or -ENOSYS where the kernel does not have it.
int station_no_new_privileges(void);
// The orphans among this process's descendants become its children.
int station_adopt_orphans(void);
// After this no file or directory can be opened at all (Landlock).
int station_landlock_no_files(void);
// After this every system call outside of the writer's list fails with EPERM, in all threads (seccomp).
int station_seccomp_writer(void);

#endif
