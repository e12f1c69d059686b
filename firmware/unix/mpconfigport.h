// MicroPython as a board that is a Linux process.
#include "mpconfigcommon.h"

#define MICROPY_HW_MCU_NAME "x86-64"
#define MICROPY_PY_SYS_PLATFORM "unix"
#define MICROPY_USE_INTERNAL_PRINTF (0)
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC (port_random())

// Signals' handlers are the interrupts: kept off, they are made up for at the end.
#define MICROPY_BEGIN_ATOMIC_SECTION() port_interrupts_off()
#define MICROPY_END_ATOMIC_SECTION(state) port_interrupts_restore(state)
#define MICROPY_PY_PENDSV_ENTER unsigned pendsv_state = port_interrupts_off();
#define MICROPY_PY_PENDSV_EXIT port_interrupts_restore(pendsv_state);

unsigned port_interrupts_off(void);
void port_interrupts_restore(unsigned state);
unsigned port_random(void);
