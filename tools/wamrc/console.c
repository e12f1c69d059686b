#include "console.h"

#include <stdio.h>
#include <unistd.h>

static int saved_stderr = -1;

// LLVM prints its lists to stderr, whatever it is told, so the descriptor itself is lent.
void console_begin_list(void) {
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    dup2(STDOUT_FILENO, STDERR_FILENO);
}

void console_end_list(void) {
    fflush(stderr);
    if (saved_stderr >= 0) {
        dup2(saved_stderr, STDERR_FILENO);
        close(saved_stderr);
    }
}

int console_vprintf(const char *format, va_list args) {
    return vfprintf(stderr, format, args);
}

void console_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("wamrc: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}
