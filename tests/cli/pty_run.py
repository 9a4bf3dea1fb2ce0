"""Runs a program on a terminal of its own, types at it, and prints what it showed.

usage: pty_run.py COLUMNS STEP... -- COMMAND...
STEP is  expect:TEXT  (waits until TEXT is shown after the last step),  type:TEXT  (with \\n, \\x03
and the like),  or  wait:SECONDS.  The exit code is the program's; 99 when a step timed out."""
import codecs
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

TIMEOUT_S = 120


def main():
    columns = int(sys.argv[1])
    split = sys.argv.index("--")
    steps, command = sys.argv[2:split], sys.argv[split + 1:]
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown, mark = b"", 0

    def read(seconds):
        nonlocal shown
        if not select.select([fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(fd, 65536)
        except OSError:
            return False
        shown += data
        return bool(data)

    def show():
        sys.stdout.buffer.write(shown)
        sys.stdout.flush()

    for step in steps:
        kind, text = step.split(":", 1)
        data = codecs.decode(text, "unicode_escape").encode("latin-1")
        end = time.time() + TIMEOUT_S
        if kind == "type":
            os.write(fd, data)
        elif kind == "wait":
            end = time.time() + float(text)
            while time.time() < end:
                if not read(0.05):
                    break
        else:
            while data not in shown[mark:]:
                if time.time() > end or not read(0.2):
                    show()
                    print("\nnot seen: %r" % text)
                    os.kill(pid, 9)
                    sys.exit(99)
            mark = shown.index(data, mark) + len(data)
    end = time.time() + TIMEOUT_S
    while read(0.2) and time.time() < end:
        pass
    show()
    if time.time() >= end:
        print("\nit did not end")
        os.kill(pid, 9)
    _, status = os.waitpid(pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status) % 256)


main()
