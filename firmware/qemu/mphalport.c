// Serial port and time, as MicroPython sees them.
#include "py/mphal.h"
#include "py/ringbuf.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "shared/runtime/softtimer.h"

#include "board.h"
#include "port.h"

static uint8_t received_bytes[512];
static ringbuf_t received = { received_bytes, sizeof(received_bytes), 0, 0 };
static volatile bool listening = true; // else there was no room

// ---- standard input and output ----

void stdin_interrupt(void) {
    uint8_t byte;
    while (ringbuf_free(&received) != 0) {
        if (!board_receive(&byte)) {
            return;
        }
        if (byte == mp_interrupt_char) {
            mp_sched_keyboard_interrupt();
        } else {
            ringbuf_put(&received, byte);
        }
    }
    listening = false;
    board_listen(false);
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        int byte = ringbuf_get(&received);
        if (!listening) {
            listening = true;
            board_listen(true);
        }
        if (byte >= 0) {
            return byte;
        }
        mp_event_wait_indefinite();
    }
}

uintptr_t mp_hal_stdio_poll(uintptr_t flags) {
    uintptr_t ready = flags & MP_STREAM_POLL_WR;
    if ((flags & MP_STREAM_POLL_RD) && ringbuf_peek(&received) >= 0) {
        ready |= MP_STREAM_POLL_RD;
    }
    return ready;
}

mp_uint_t mp_hal_stdout_tx_strn(const char *data, size_t size) {
    board_send(data, size);
    return size;
}

// ---- time ----

static bool something_pending(void) {
    return MP_STATE_MAIN_THREAD(mp_pending_exception) != MP_OBJ_NULL || MP_STATE_VM(sched_state) == MP_SCHED_PENDING
        || ringbuf_peek(&received) >= 0;
}

// What an interrupt did since the caller looked counts too: with interrupts disabled one ends the wait and runs afterwards.
void port_wait(mp_uint_t timeout_ms) {
    uint32_t interrupts = interrupts_disable();
    if (!something_pending()) {
        board_wait(MIN(timeout_ms, UINT32_MAX / 1000) * 1000);
    }
    interrupts_restore(interrupts);
}

void soft_timer_schedule_at_ms(uint32_t ticks_ms) {
    int32_t ms = soft_timer_ticks_diff(ticks_ms, mp_hal_ticks_ms());
    board_schedule(ms > 0 ? 1000 * (uint32_t)MIN(ms, 1000000) : 1);
}
