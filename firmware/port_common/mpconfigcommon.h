// MicroPython as our own ports have it: what its rp2 port has too, as far as no hardware is needed for it.
#include <alloca.h>
#include <stdint.h>

#include "kern_board.h"

typedef intptr_t mp_int_t;
typedef uintptr_t mp_uint_t;
typedef long mp_off_t;
#define MP_SSIZE_MAX INTPTR_MAX

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

#define MICROPY_ENABLE_GC (1)
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF (1)
#define MICROPY_STACK_CHECK_MARGIN (256)
#define MICROPY_ALLOC_PATH_MAX (128)
#define MICROPY_QSTR_BYTES_IN_HASH (1)
#define MICROPY_PERSISTENT_CODE_LOAD (1)
#define MICROPY_OPT_COMPUTED_GOTO (1)
#define MICROPY_LONGINT_IMPL (MICROPY_LONGINT_IMPL_MPZ)
#define MPZ_DIG_SIZE (16) // as frozen modules have it
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_FLOAT)
#define MICROPY_SCHEDULER_DEPTH (8)
#define MICROPY_SCHEDULER_STATIC_NODES (1)
#define MICROPY_USE_INTERNAL_ERRNO (1)
#define MICROPY_READER_VFS (1)
#define MICROPY_VFS (1)
#define MICROPY_VFS_LFS2 (1)
#define MICROPY_EPOCH_IS_1970 (1)

#define MICROPY_PY_OS_SYNC (1)
#define MICROPY_PY_OS_UNAME (1)
#define MICROPY_PY_RE_MATCH_GROUPS (1)
#define MICROPY_PY_RE_MATCH_SPAN_START_END (1)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_TIME_TIME_NS (1)
#define MICROPY_PY_TIME_INCLUDEFILE "port_modtime.c"
#define MICROPY_PY_MACHINE (1)
#define MICROPY_PY_MACHINE_RESET (1)
#define MICROPY_PY_MACHINE_TIMER (1)
#define MICROPY_PY_MACHINE_INCLUDEFILE "port_modmachine.c"

#define MICROPY_HW_BOARD_NAME KERN_BOARD

// The port's. Wait for an interrupt, for so many ms at most; it may be less, and (mp_uint_t)-1 is for ever.
void port_wait(mp_uint_t timeout_ms);
#define MICROPY_INTERNAL_WFE(timeout_ms) port_wait(timeout_ms)
#define mp_hal_ticks_cpu mp_hal_ticks_us

// The heap has the kernels' memory too until kern is imported.
#define MICROPY_GC_SPLIT_HEAP (1)
void kern_memory_lend(void);
#define MICROPY_PORT_INIT_FUNC kern_memory_lend()

#define MP_STATE_PORT MP_STATE_VM
