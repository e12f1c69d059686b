// What MicroPython asks of the port.
#include <stddef.h>

#include "shared/runtime/interrupt_char.h"

#include "flash.h"
#include "interrupts.h"

#define MICROPY_BEGIN_ATOMIC_SECTION() interrupts_disable()
#define MICROPY_END_ATOMIC_SECTION(state) interrupts_restore(state)

// -1: for ever
void wait_for_event(mp_int_t ms);
#define MICROPY_INTERNAL_WFE(ms) wait_for_event(ms)

#define mp_hal_ticks_cpu mp_hal_ticks_us

static inline mp_uint_t mp_hal_ticks_us(void) {
    return (mp_uint_t)kern_uptime_us();
}

static inline mp_uint_t mp_hal_ticks_ms(void) {
    return (mp_uint_t)(kern_uptime_us() / 1000);
}

// There is no calendar: time begins at power-up.
static inline uint64_t mp_hal_time_ns(void) {
    return kern_uptime_us() * 1000;
}
