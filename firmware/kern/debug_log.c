// WAMR's log and its assertions, on the REPL's output. In debug builds only.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "py/mphal.h"
#include "py/runtime.h"

#include "bh_platform.h"

#include "guard.h"

// What was logged on the kernel stack, where nothing can be printed: the deadline may end that code at any instruction.
static char held[192];
static mp_sched_node_t print_held_node;

static void print_held(mp_sched_node_t *node) {
    (void)node;
    mp_print_str(&mp_plat_print, held);
    held[0] = 0;
}

static void put(const char *text) {
    if (guard_inside()) {
        strncat(held, text, sizeof(held) - 1 - strlen(held));
        mp_sched_schedule_node(&print_held_node, print_held);
    } else {
        mp_print_str(&mp_plat_print, text);
    }
}

int os_vprintf(const char *format, va_list args) {
    char text[128];
    int length = vsnprintf(text, sizeof(text), format, args);
    put(text);
    return length;
}

int os_printf(const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = os_vprintf(format, args);
    va_end(args);
    return length;
}

// Takes the place of WAMR's, which stops the board. A kernel's call ends with KernelError; elsewhere it is a RuntimeError, and
// WAMR's state is not to be trusted until the next reset.
void bh_assert_internal(int64 value, const char *file, int line, const char *expression) {
    if (value != 0) {
        return;
    }
    if (guard_inside()) {
        os_printf("WAMR assertion failed: %s, %s:%d\n", expression, file, line);
        guard_trap(KERN_KERNEL_ERROR, (uintptr_t)__builtin_return_address(0));
    }
    mp_raise_msg_varg(&mp_type_RuntimeError, MP_ERROR_TEXT("WAMR assertion failed: %s, %s:%d"), expression, file, line);
}
