/* sd_notify's protocol: a datagram to the socket that NOTIFY_SOCKET names. The socket is made once,
 * before a sandbox forbids making any. */
#include "serve/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int notify_fd = -1;

static int connect_once(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
        return -1;
    memcpy(address.sun_path, path, n);
    if (path[0] == '@') /* an abstract address */
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, size) == 0)
        return fd;
    return -1;
}

void hn_notify(const char *state) {
    if (notify_fd < 0)
        notify_fd = connect_once();
    if (notify_fd >= 0 && state[0])
        (void)!send(notify_fd, state, strlen(state), MSG_NOSIGNAL);
}
