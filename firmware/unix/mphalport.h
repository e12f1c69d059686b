#include "py/mpconfig.h"

#include "shared/runtime/interrupt_char.h"

#define MICROPY_INTERNAL_WFE(timeout_ms) port_wait((int)(timeout_ms))
#define mp_hal_ticks_cpu mp_hal_ticks_us

// Wait for an interrupt, for `timeout_ms` at most; for as long as it takes when that is negative.
void port_wait(int timeout_ms);
