/* Telling systemd how the service stands (sd_notify(3)). */
#pragma once

/* "READY=1", "STOPPING=1"; nothing happens without NOTIFY_SOCKET. "" only connects, which must come
 * before the sandbox. */
void hn_notify(const char *state);
