// Ticks, waiting and soft timers, by the clock that kern has too.
#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/runtime/softtimer.h"

#include "flash.h"
#include "port.h"

mp_uint_t mp_hal_ticks_us(void) {
    return kern_uptime_us();
}

mp_uint_t mp_hal_ticks_ms(void) {
    return kern_uptime_us() / 1000;
}

uint32_t soft_timer_get_ms(void) {
    return mp_hal_ticks_ms();
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t end = kern_uptime_us() + us;
    if (us > 1000) {
        mp_hal_delay_ms(us / 1000);
    }
    while (kern_uptime_us() < end) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    uint64_t end = kern_uptime_us() + UINT64_C(1000) * ms, now;
    while ((now = kern_uptime_us()) < end) {
        mp_event_wait_ms((end - now + 999) / 1000);
    }
    mp_handle_pending(true);
}
