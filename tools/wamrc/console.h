// Where messages go: what the user asked to see to stdout, everything else to stderr.
#ifndef WAMRC_CONSOLE_H
#define WAMRC_CONSOLE_H

#include <stdarg.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

// Until console_end_list(), what the libraries print is a list that was asked for: it goes to stdout.
void console_begin_list(void);
void console_end_list(void);

// What the library prints with (its BH_VPRINTF). Returns the number of characters written.
int console_vprintf(const char *format, va_list args);

// Print "wamrc: <message>\n" to stderr.
void console_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

#ifdef __cplusplus
}
#endif

#endif
