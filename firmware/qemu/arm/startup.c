// From reset to main, and the vector table of the MPS2 boards.
#include <stdint.h>
#include <string.h>

#include "guard_arm.h"
#include "mps2.h"
#include "semihosting.h"

#define SCB_CPACR (*(volatile uint32_t *)0xe000ed88)
#define CPACR_FPU (0xf << 20)

#define EXCEPTIONS (16)

typedef void handler(void);

extern uint32_t __data_start, __data_end, __data_load, __bss_start, __bss_end, __stack_start;
int main(void);
handler Reset_Handler, HardFault_Handler, board_uart_isr, board_wait_isr, board_schedule_isr;

static void unexpected(void) {
    semihosting(SEMIHOSTING_WRITE0, "unexpected exception\n");
    semihosting_exit();
}

union vector {
    const void *stack;
    handler *handler;
};

__attribute__((section(".vectors"), used)) static const union vector vectors[] = {
    { .stack = &__stack_start },
    { .handler = Reset_Handler },
    { .handler = unexpected }, // NMI
    { .handler = HardFault_Handler }, // also what other faults escalate to, which nobody enables
    [EXCEPTIONS + MPS2_UART0_RX_IRQ] = { .handler = board_uart_isr },
    [EXCEPTIONS + MPS2_TIMER0_IRQ] = { .handler = guard_alarm_isr },
    [EXCEPTIONS + MPS2_TIMER1_IRQ] = { .handler = board_wait_isr },
    [EXCEPTIONS + MPS2_DUAL_TIMER_IRQ] = { .handler = board_schedule_isr },
};

void Reset_Handler(void) {
    #ifdef __ARM_FP
    SCB_CPACR |= CPACR_FPU;
    __asm volatile ("dsb\n isb");
    #endif
    memcpy(&__data_start, &__data_load, (uintptr_t)&__data_end - (uintptr_t)&__data_start);
    memset(&__bss_start, 0, (uintptr_t)&__bss_end - (uintptr_t)&__bss_start);
    main();
}
