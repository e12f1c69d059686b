// Standard input and output as a board's serial port: bytes as they are, flow control by blocking.
#define _GNU_SOURCE // O_ASYNC
#include "unix.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "py/mphal.h"
#include "py/ringbuf.h"
#include "py/runtime.h"
#include "py/stream.h"

static uint8_t received_bytes[4096];
static ringbuf_t received = { received_bytes, sizeof(received_bytes), 0, 0 };
static bool ended; // there is no more input
static struct termios original;
static bool is_terminal;

void terminal_init(void) {
    is_terminal = tcgetattr(STDIN_FILENO, &original) == 0;
    if (is_terminal) {
        struct termios raw = original;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        atexit(terminal_restore);
    }
    fcntl(STDIN_FILENO, F_SETOWN, getpid());
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_ASYNC);
}

void terminal_restore(void) {
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) & ~O_ASYNC);
    if (is_terminal) {
        tcsetattr(STDIN_FILENO, TCSANOW, &original);
    }
}

bool terminal_wants(void) {
    return !ended && ringbuf_free(&received) > 0;
}

static bool can_read(void) {
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    return poll(&input, 1, 0) > 0;
}

// Ctrl-C counts when it arrives, not when it is read.
static void put(uint8_t byte) {
    if (byte == mp_interrupt_char) {
        mp_sched_keyboard_interrupt();
    } else {
        ringbuf_put(&received, byte);
    }
}

bool terminal_take(void) {
    bool any = false;
    while (terminal_wants() && can_read()) {
        uint8_t bytes[256];
        size_t room = ringbuf_free(&received);
        ssize_t count = read(STDIN_FILENO, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
        ended = count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN);
        for (ssize_t i = 0; i < count; i++) {
            put(bytes[i]);
        }
        any = true;
    }
    return any;
}

// ---- what MicroPython asks for ----

static int get(void) {
    unsigned state = port_interrupts_off();
    int byte = ringbuf_get(&received);
    port_interrupts_restore(state);
    return byte;
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        interrupts_poll();
        int byte = get();
        if (byte >= 0) {
            return byte;
        }
        if (ended) {
            exit(EXIT_SUCCESS);
        }
        mp_event_wait_indefinite();
    }
}

uintptr_t mp_hal_stdio_poll(uintptr_t flags) {
    interrupts_poll();
    return flags & (MP_STREAM_POLL_WR | (ringbuf_avail(&received) > 0 ? MP_STREAM_POLL_RD : 0));
}

mp_uint_t mp_hal_stdout_tx_strn(const char *bytes, size_t size) {
    for (size_t sent = 0; sent < size;) {
        ssize_t count = write(STDOUT_FILENO, bytes + sent, size - sent);
        if (count >= 0) {
            sent += count;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd) { .fd = STDOUT_FILENO, .events = POLLOUT }, 1, -1);
        } else if (errno != EINTR) {
            exit(EXIT_FAILURE); // nobody is there
        }
    }
    return size;
}
