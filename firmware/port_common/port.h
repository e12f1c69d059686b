// What the ports of ours have in common, and what each has to bring.
#ifndef PORT_COMMON_PORT_H
#define PORT_COMMON_PORT_H

#include "py/obj.h"

// Run boot.py, main.py and the REPL, again after every soft reset. Does not return. MicroPython's stack limit and heap are set.
NORETURN void port_loop(void);

// ---- the port's ----

// Start anew, as after power-up.
NORETURN void port_reset(void);

// How many of what kern counts as cycles are in a second: machine.freq().
uint32_t port_frequency(void);

// Call soft_timer_handler (shared/runtime/softtimer.h) at that time of mp_hal_ticks_ms, or as soon as possible if it is over, in
// an interrupt handler, or what stands for one: MICROPY_BEGIN_ATOMIC_SECTION keeps it off.
void soft_timer_schedule_at_ms(uint32_t ticks_ms);
uint32_t soft_timer_get_ms(void); // time.c

#endif
