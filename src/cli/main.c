/* hone: the program. */
#include <stdio.h>

int main(void) {
    fputs("usage: hone COMMAND\n", stderr);
    return 2;
}
