/* Every change of a file below one folder, counted, written down, and made to fail when asked.
 *
 * Loaded before the C library (LD_PRELOAD), so that whatever Python, SQLite and hnswlib do to files
 * passes here. Changes are numbered from 1. One of them can be chosen: the process is killed before
 * it, in the middle of it or after it, stopped before it, or the change fails, as if the disk were
 * full or broken. Maps shared between processes (SQLite's -shm) are no durable state and are let by.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, AFTER, STOP, FAIL_EIO, FAIL_ENOSPC, FULL };

static char root[PATH_MAX];
static size_t root_length;
static long chosen, number;
static int how, log_fd = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

/* Begin to count changes below a folder; ``log`` is a file to append them to, or empty. */
void seam_arm(const char *folder, long at, int what, const char *log) {
    snprintf(root, sizeof root, "%s/", folder);
    root_length = strlen(root);
    number = 0;
    chosen = at;
    how = what;
    log_fd = *log ? REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
}

/* Stop counting; how many changes there were. */
long seam_disarm(void) {
    root_length = 0;
    return number;
}

static int inside(const char *path) {
    size_t length = strlen(path);
    return root_length && strncmp(path, root, root_length) == 0 &&
           !(length > 4 && strcmp(path + length - 4, "-shm") == 0);
}

/* The path of an open file, if it is one of ours. */
static int file_inside(int fd, char *path) {
    char link[40];
    if (!root_length || fd == log_fd) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (strcmp(path, root) == 0) return 1;
    if (inside(path)) return 1;
    return (size_t)length == root_length - 1 && strncmp(path, root, length) == 0;
}

static int in_folder(int folder, const char *path, char *whole) {
    if (*path == '/') {
        snprintf(whole, PATH_MAX, "%s", path);
    } else if (folder == AT_FDCWD) {
        return 0;
    } else {
        if (!file_inside(folder, whole)) return 0;
        size_t length = strlen(whole);
        snprintf(whole + length, PATH_MAX - length, "/%s", path);
    }
    return inside(whole);
}

struct entry { uint64_t kind, file, offset, length, first, second; };

static void note(char kind, uint64_t file, uint64_t offset, const char *first, const char *second,
                 const void *data, uint64_t length) {
    if (log_fd < 0) return;
    struct entry entry = {kind, file, offset, length, strlen(first), strlen(second)};
    struct iovec parts[] = {{&entry, sizeof entry}, {(void *)first, entry.first},
                            {(void *)second, entry.second}, {(void *)data, data ? length : 0}};
    if (REAL(writev)(log_fd, parts, 4) < 0) raise(SIGABRT);
}

/* Say in the log what the process has promised by now. */
void seam_promise(const char *text) {
    pthread_mutex_lock(&turn);
    note('a', 0, 0, text, "", NULL, 0);
    pthread_mutex_unlock(&turn);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Number a change: 0 to go on, TEAR and AFTER to die in it or after it, FULL to do half of it,
 * or an error for errno as its negative. A full disk lets by what ``grows`` nothing. */
static int meet(int grows) {
    number++;
    if (how == FULL && !grows) return 0;
    if (how == FULL && chosen && number > chosen) return -ENOSPC;
    if (number != chosen) return 0;
    switch (how) {
    case KILL: die(); return 0;
    case STOP: raise(SIGSTOP); return 0;
    case FAIL_EIO: return -EIO;
    case FAIL_ENOSPC: return -ENOSPC;
    case TEAR: case AFTER: case FULL: return how;
    default: return 0;
    }
}

#define BEGIN(grows)                                                                                   \
    pthread_mutex_lock(&turn);                                                                     \
    int met = meet(grows);                                                                              \
    if (met < 0) {                                                                                 \
        pthread_mutex_unlock(&turn);                                                               \
        errno = -met;                                                                              \
        return -1;                                                                                 \
    }
#define END(result)                                                                                \
    do {                                                                                           \
        if (met == AFTER || met == TEAR) die();                                                    \
        int kept = errno;                                                                          \
        pthread_mutex_unlock(&turn);                                                               \
        errno = kept;                                                                              \
        return result;                                                                             \
    } while (0)

static uint64_t identity(int fd) {
    struct stat facts;
    return fstat(fd, &facts) ? 0 : facts.st_ino;
}

/* Writing. */

static ssize_t put(int fd, const void *data, size_t length, off_t offset, int at, const char *path) {
    BEGIN(1)
    if (!at) {
        struct stat facts;
        int append = fcntl(fd, F_GETFL) & O_APPEND;
        offset = append && !fstat(fd, &facts) ? facts.st_size : lseek(fd, 0, SEEK_CUR);
    }
    size_t some = (met == TEAR || met == FULL) && length > 1 ? length / 2 : length;
    ssize_t done = at ? REAL(pwrite64)(fd, data, some, offset) : REAL(write)(fd, data, some);
    if (done > 0) note('w', identity(fd), offset, path, "", data, done);
    END(done);
}

ssize_t write(int fd, const void *data, size_t length) {
    char path[PATH_MAX];
    return file_inside(fd, path) ? put(fd, data, length, 0, 0, path)
                                 : REAL(write)(fd, data, length);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    char path[PATH_MAX];
    return file_inside(fd, path) ? put(fd, data, length, offset, 1, path)
                                 : REAL(pwrite64)(fd, data, length, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return pwrite64(fd, data, length, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (!file_inside(fd, path)) return REAL(writev)(fd, parts, count);
    ssize_t done = 0;
    for (int at = 0; at < count; at++) {
        if (!parts[at].iov_len) continue;
        ssize_t some = put(fd, parts[at].iov_base, parts[at].iov_len, 0, 0, path);
        if (some < 0) return done ? done : -1;
        done += some;
        if ((size_t)some < parts[at].iov_len) break;
    }
    return done;
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) {
    char path[PATH_MAX];
    if (!file_inside(out, path)) return REAL(sendfile64)(out, in, offset, count);
    errno = ENOTSOCK; /* whoever copies goes on with reading and writing */
    return -1;
}

ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
    return sendfile64(out, in, offset, count);
}

/* Making the disk have it. */

static int sync_to(int fd, const char *path, int data_only) {
    BEGIN(1)
    struct stat facts;
    int folder = !fstat(fd, &facts) && S_ISDIR(facts.st_mode);
    if (met != TEAR && met != FULL) note(folder ? 'd' : 'f', facts.st_ino, 0, path, "", NULL, 0);
    int done = data_only ? REAL(fdatasync)(fd) : REAL(fsync)(fd);
    END(done);
}

int fsync(int fd) {
    char path[PATH_MAX];
    return file_inside(fd, path) ? sync_to(fd, path, 0) : REAL(fsync)(fd);
}

int fdatasync(int fd) {
    char path[PATH_MAX];
    return file_inside(fd, path) ? sync_to(fd, path, 1) : REAL(fdatasync)(fd);
}

/* Sizes. */

int ftruncate64(int fd, off64_t size) {
    char path[PATH_MAX];
    if (!file_inside(fd, path)) return REAL(ftruncate64)(fd, size);
    BEGIN(0)
    int done = REAL(ftruncate64)(fd, size);
    if (!done) note('t', identity(fd), size, path, "", NULL, 0);
    END(done);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int truncate64(const char *path, off64_t size) {
    if (!inside(path)) return REAL(truncate64)(path, size);
    int fd = REAL(open)(path, O_WRONLY);
    if (fd < 0) return -1;
    int done = ftruncate64(fd, size);
    close(fd);
    return done;
}

int truncate(const char *path, off_t size) { return truncate64(path, size); }

/* Names. */

static int make(int folder, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    struct stat facts;
    if (!(flags & (O_CREAT | O_TRUNC)) || !in_folder(folder, path, whole))
        return REAL(openat)(folder, path, flags, mode);
    int there = !lstat(whole, &facts);
    if (there ? !(flags & O_TRUNC) || !facts.st_size : !(flags & O_CREAT))
        return REAL(openat)(folder, path, flags, mode);
    BEGIN(1)
    int fd = REAL(openat)(folder, path, flags, mode);
    if (fd >= 0) note(there ? 't' : 'c', identity(fd), 0, whole, "", NULL, 0);
    END(fd);
}

#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
    }

int open(const char *path, int flags, ...) { MODE(flags) return make(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return make(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return make(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return make(folder, path, flags, mode); }

FILE *fopen64(const char *path, const char *mode) {
    if (*mode == 'r' || !inside(path)) return REAL(fopen64)(path, mode);
    int plus = strchr(mode, '+') != NULL;
    int fd = make(AT_FDCWD, path, (plus ? O_RDWR : O_WRONLY) | O_CREAT |
                  (*mode == 'w' ? O_TRUNC : O_APPEND), 0666);
    return fd < 0 ? NULL : fdopen(fd, mode);
}

FILE *fopen(const char *path, const char *mode) { return fopen64(path, mode); }

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    int ours = in_folder(from, old, first) | in_folder(to, new, second);
    if (!ours) return REAL(renameat2)(from, old, to, new, flags);
    BEGIN(0)
    int done = REAL(renameat2)(from, old, to, new, flags);
    if (!done) note('r', 0, 0, first, second, NULL, 0);
    END(done);
}

int renameat(int from, const char *old, int to, const char *new) {
    return renameat2(from, old, to, new, 0);
}

int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int folder, const char *path, int flags) {
    char whole[PATH_MAX];
    if (!in_folder(folder, path, whole)) return REAL(unlinkat)(folder, path, flags);
    struct stat facts;
    if (lstat(whole, &facts)) return -1;
    BEGIN(0)
    int done = REAL(unlinkat)(folder, path, flags);
    if (!done) note('u', 0, 0, whole, "", NULL, 0);
    END(done);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) { return unlink(path); }

int mkdirat(int folder, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    if (!in_folder(folder, path, whole)) return REAL(mkdirat)(folder, path, mode);
    struct stat facts;
    if (!lstat(whole, &facts)) { errno = EEXIST; return -1; }
    BEGIN(1)
    int done = REAL(mkdirat)(folder, path, mode);
    if (!done) note('m', 0, 0, whole, "", NULL, 0);
    END(done);
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    char whole[PATH_MAX];
    if (!in_folder(to, new, whole)) return REAL(linkat)(from, old, to, new, flags);
    BEGIN(1)
    int done = REAL(linkat)(from, old, to, new, flags);
    if (!done) note('l', 0, 0, old, whole, NULL, 0);
    END(done);
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int symlinkat(const char *target, int folder, const char *path) {
    char whole[PATH_MAX];
    if (!in_folder(folder, path, whole)) return REAL(symlinkat)(target, folder, path);
    BEGIN(1)
    int done = REAL(symlinkat)(target, folder, path);
    if (!done) note('s', 0, 0, target, whole, NULL, 0);
    END(done);
}

int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }
