// What is where on QEMU's board virt, its clock and the clock's alarms.
#ifndef KERN_VIRT_H
#define KERN_VIRT_H

#include <stdint.h>

#define VIRT_TEST (0x00100000) // resets the machine
#define VIRT_MTIMECMP (0x02004000)
#define VIRT_PLIC (0x0c000000)
#define VIRT_UART (0x10000000)

#define VIRT_UART_IRQ (10) // the PLIC's number

#define VIRT_CLOCK_MHZ (10)
#define VIRT_NEVER (UINT64_C(1) << 54) // 57 years: where nanoseconds do not fit in 63 bits, QEMU does not sleep

static inline uint64_t virt_clock(void) {
    uint32_t low, high, again;
    do {
        __asm volatile ("csrr %0, timeh\n csrr %1, time\n csrr %2, timeh" : "=r" (high), "=r" (low), "=r" (again));
    } while (high != again);
    return (uint64_t)high << 32 | low;
}

// The clock has one comparison: virt.c sets it to the alarm that is next.
enum virt_alarm { VIRT_ALARM_GUARD, VIRT_ALARM_SOFT_TIMERS, VIRT_ALARM_WAIT, VIRT_ALARMS };

// Interrupts at that time, at once if it has passed, until it is set to another.
void virt_set_alarm(enum virt_alarm alarm, uint64_t at);

#endif
