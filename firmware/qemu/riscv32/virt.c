// QEMU's board virt.
#include "board.h"

#include "shared/runtime/softtimer.h"

#include "flash.h"
#include "interrupts.h"
#include "trap.h"
#include "virt.h"

// The serial port is a 16550.
#define UART_INTERRUPT_RECEIVED (1 << 0)
#define UART_FIFO_ON (1 << 0)
#define UART_FIFO_INTERRUPT_AT_14 (3 << 6)
#define UART_LINE_8N1 (3)
#define UART_LINE_DIVISOR (1 << 7) // the first two registers are the divisor's halves
#define UART_STATUS_RECEIVED (1 << 0)
#define UART_STATUS_CAN_SEND (1 << 5)

struct uart {
    uint8_t data, interrupts, fifo, line, modem, status;
};

#define uart ((volatile struct uart *)VIRT_UART)

// Of the PLIC: what hart 0 has in machine mode.
#define PLIC_PRIORITY ((volatile uint32_t *)VIRT_PLIC)
#define PLIC_ENABLE ((volatile uint32_t *)(VIRT_PLIC + 0x2000))
#define PLIC_CLAIM (*(volatile uint32_t *)(VIRT_PLIC + 0x200004))

#define MTIMECMP ((volatile uint32_t *)VIRT_MTIMECMP)
#define MIE_TIMER (1u << 7)
#define MIE_EXTERNAL (1u << 11)

#define TEST_RESET (0x7777)

static uint64_t alarms[VIRT_ALARMS] = { VIRT_NEVER, VIRT_NEVER, VIRT_NEVER };

static void compare_with_next(void) {
    uint64_t next = VIRT_NEVER;
    for (int i = 0; i < VIRT_ALARMS; i++) {
        next = alarms[i] < next ? alarms[i] : next;
    }
    MTIMECMP[1] = UINT32_MAX; // no interrupt while one half is new
    MTIMECMP[0] = (uint32_t)next;
    MTIMECMP[1] = (uint32_t)(next >> 32);
}

// QEMU hands over as many bytes at once as the FIFO takes until it interrupts. Fewer interrupt after the time of four bytes, which
// is 0.1 ms at the highest speed.
static void init_uart(void) {
    uart->line = UART_LINE_DIVISOR;
    uart->data = 1;
    uart->interrupts = 0;
    uart->line = UART_LINE_8N1;
    uart->fifo = UART_FIFO_ON | UART_FIFO_INTERRUPT_AT_14;
    board_listen(true);
}

void board_init(void) {
    compare_with_next();
    init_uart();
    PLIC_PRIORITY[VIRT_UART_IRQ] = 1;
    PLIC_ENABLE[VIRT_UART_IRQ / 32] = 1u << VIRT_UART_IRQ % 32;
    __asm volatile ("csrs mie, %0" : : "r" (MIE_TIMER | MIE_EXTERNAL));
}

void board_send(const char *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        while (!(uart->status & UART_STATUS_CAN_SEND)) {
        }
        uart->data = (uint8_t)data[i];
    }
}

bool board_receive(uint8_t *byte) {
    bool there = uart->status & UART_STATUS_RECEIVED;
    if (there) {
        *byte = uart->data;
    }
    return there;
}

void board_listen(bool on) {
    uart->interrupts = on ? UART_INTERRUPT_RECEIVED : 0;
}

void trap_external(void) {
    uint32_t source = PLIC_CLAIM;
    if (source == VIRT_UART_IRQ) {
        stdin_interrupt();
    }
    PLIC_CLAIM = source;
}

// ---- alarms ----

void virt_set_alarm(enum virt_alarm alarm, uint64_t at) {
    uint32_t interrupts = interrupts_disable();
    alarms[alarm] = at;
    compare_with_next();
    interrupts_restore(interrupts);
}

static uint64_t in_us(uint32_t us) {
    return virt_clock() + (uint64_t)us * VIRT_CLOCK_MHZ;
}

void board_wait(uint32_t us) {
    virt_set_alarm(VIRT_ALARM_WAIT, in_us(us));
    __asm volatile ("wfi");
    virt_set_alarm(VIRT_ALARM_WAIT, VIRT_NEVER);
}

void board_schedule(uint32_t us) {
    virt_set_alarm(VIRT_ALARM_SOFT_TIMERS, in_us(us));
}

bool trap_timer(void) {
    uint64_t now = virt_clock();
    if (alarms[VIRT_ALARM_SOFT_TIMERS] <= now) {
        virt_set_alarm(VIRT_ALARM_SOFT_TIMERS, VIRT_NEVER);
        soft_timer_handler();
    }
    return alarms[VIRT_ALARM_GUARD] <= now;
}

void board_reset(void) {
    *(volatile uint32_t *)VIRT_TEST = TEST_RESET;
    for (;;) {
    }
}

uint64_t kern_uptime_us(void) {
    return virt_clock() / VIRT_CLOCK_MHZ;
}
