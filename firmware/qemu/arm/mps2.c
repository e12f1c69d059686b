// Arm's MPS2 boards.
#include "board.h"

#include "shared/runtime/softtimer.h"

#include "flash.h"
#include "mps2_timer.h"

#define UART_TX_FULL (1 << 0) // of state
#define UART_RX_FULL (1 << 1)
#define UART_ON (1 | 2 | 8)   // of control: send, receive, interrupt when received
#define UART_RX_INTERRUPT (1 << 1)

struct uart {
    uint32_t data, state, control, interrupt, divider;
};

#define uart ((volatile struct uart *)MPS2_UART0)

// The first half of the dual timer.
struct dual_timer {
    uint32_t load, value, control, clear;
};

#define dual_timer ((volatile struct dual_timer *)MPS2_DUAL_TIMER)
#define DUAL_TIMER_ONCE (0x80 | 0x20 | 2 | 1) // on, with interrupt, 32 bits, one shot

#define NVIC_SET_PENDING ((volatile uint32_t *)0xe000e200)
#define NVIC_DISABLE ((volatile uint32_t *)0xe000e180)
#define SCB_AIRCR (*(volatile uint32_t *)0xe000ed0c)
#define SCB_AIRCR_RESET (0x05fa0004)

void board_init(void) {
    mps2_fpgaio->prescale = MPS2_CLOCK_MHZ - 1;
    uart->divider = 16;
    uart->control = UART_ON;
    (void)uart->data; // nothing yet: QEMU's multiplexer hands over what came before when the port is read
    board_listen(true);
    mps2_interrupt_on(MPS2_TIMER1_IRQ, 0xff);
    mps2_interrupt_on(MPS2_DUAL_TIMER_IRQ, 0xff);
}

void board_send(const char *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        while (uart->state & UART_TX_FULL) {
        }
        uart->data = (uint8_t)data[i];
    }
}

bool board_receive(uint8_t *byte) {
    bool there = uart->state & UART_RX_FULL;
    if (there) {
        *byte = (uint8_t)uart->data;
    }
    return there;
}

void board_listen(bool on) {
    if (on) {
        NVIC_SET_PENDING[MPS2_UART0_RX_IRQ / 32] = 1u << MPS2_UART0_RX_IRQ % 32;
        mps2_interrupt_on(MPS2_UART0_RX_IRQ, 0x80);
    } else {
        NVIC_DISABLE[MPS2_UART0_RX_IRQ / 32] = 1u << MPS2_UART0_RX_IRQ % 32;
    }
}

void board_uart_isr(void) {
    uart->interrupt = UART_RX_INTERRUPT;
    stdin_interrupt();
}

void board_wait(uint32_t us) {
    mps2_timer_start(MPS2_TIMER1, us);
    __asm volatile ("wfi");
    mps2_timer_stop(MPS2_TIMER1);
}

void board_wait_isr(void) {
    mps2_timer_stop(MPS2_TIMER1);
}

void board_schedule(uint32_t us) {
    dual_timer->control = 0;
    dual_timer->load = us < MPS2_MOST_US ? us * MPS2_CLOCK_MHZ : UINT32_MAX;
    dual_timer->control = DUAL_TIMER_ONCE;
}

void board_schedule_isr(void) {
    dual_timer->control = 0;
    dual_timer->clear = 1;
    soft_timer_handler();
}

void board_reset(void) {
    SCB_AIRCR = SCB_AIRCR_RESET;
    for (;;) {
    }
}

// The counter of seconds began before the one of microseconds, by less than a millisecond.
uint64_t kern_uptime_us(void) {
    uint64_t seconds = UINT64_C(1000000) * mps2_fpgaio->seconds;
    return seconds + (uint64_t)(int32_t)(mps2_fpgaio->counter - (uint32_t)seconds);
}
