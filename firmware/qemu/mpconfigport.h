// MicroPython as a board that is a machine of QEMU's.
#include "mpconfigcommon.h"

#define MICROPY_HW_MCU_NAME KERN_TARGET
#define MICROPY_PY_SYS_PLATFORM "qemu"
#define MICROPY_PY_MACHINE_DISABLE_IRQ_ENABLE_IRQ (1)
#define MP_NEED_LOG2 (1) // MicroPython's libm has none

#if defined(__thumb__)
#define MICROPY_MAKE_POINTER_CALLABLE(p) ((void *)((mp_uint_t)(p) | 1))
#endif

// Soft timers run in an interrupt handler.
#define MICROPY_PY_PENDSV_ENTER uint32_t pendsv_state = interrupts_disable();
#define MICROPY_PY_PENDSV_EXIT interrupts_restore(pendsv_state);
