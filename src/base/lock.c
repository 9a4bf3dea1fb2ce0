#define _GNU_SOURCE
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

hn_status hn_dir_lock(const char *dir, const char *what, int *lock, hn_error *err) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return hn_fail_errno(err, "%s", dir);
    if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
        close(fd);
        return hn_fail(err, HN_FAILED,
                       "%s: another %s is at work there: wait for it, or choose another folder "
                       "with --output",
                       dir, what);
    }
    *lock = fd;
    return HN_OK;
}

void hn_dir_unlock(int lock) {
    if (lock >= 0)
        close(lock);
}
