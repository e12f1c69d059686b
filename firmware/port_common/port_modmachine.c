// What our ports have of module machine beside memory access: reset, frequency, timers. Included by extmod/modmachine.c.
#include "py/mphal.h"

#include "port.h"

static mp_obj_t frequency(void) {
    return mp_obj_new_int_from_uint(port_frequency());
}
static MP_DEFINE_CONST_FUN_OBJ_0(frequency_obj, frequency);

#define MICROPY_PY_MACHINE_EXTRA_GLOBALS \
    { MP_ROM_QSTR(MP_QSTR_freq), MP_ROM_PTR(&frequency_obj) }, \
    { MP_ROM_QSTR(MP_QSTR_Timer), MP_ROM_PTR(&machine_timer_type) }, \
    { MP_ROM_QSTR(MP_QSTR_PWRON_RESET), MP_ROM_INT(PWRON_RESET) },

#define PWRON_RESET (1)

NORETURN static void mp_machine_reset(void) {
    port_reset();
}

// A reset is like power-up.
static mp_int_t mp_machine_reset_cause(void) {
    return PWRON_RESET;
}

static void mp_machine_idle(void) {
    mp_event_wait_ms(1);
}
