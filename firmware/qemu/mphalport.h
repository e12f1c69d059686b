// What MicroPython asks of the port.
#include <stddef.h>

#include "shared/runtime/interrupt_char.h"

#include "flash.h"
#include "interrupts.h"

#define MICROPY_BEGIN_ATOMIC_SECTION() interrupts_disable()
#define MICROPY_END_ATOMIC_SECTION(state) interrupts_restore(state)

// There is no calendar: time begins at power-up.
static inline uint64_t mp_hal_time_ns(void) {
    return kern_uptime_us() * 1000;
}
