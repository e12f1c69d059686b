// Cortex-M3: what is where on Arm's board MPS2 with the FPGA image AN385.
#ifndef KERN_MPS2_H
#define KERN_MPS2_H

#define MPS2_TIMER0 (0x40000000)
#define MPS2_TIMER1 (0x40001000)
#define MPS2_DUAL_TIMER (0x40002000)
#define MPS2_UART0 (0x40004000)
#define MPS2_FPGAIO (0x40028000)

#define MPS2_UART0_RX_IRQ (0)
#define MPS2_TIMER0_IRQ (8)
#define MPS2_TIMER1_IRQ (9)
#define MPS2_DUAL_TIMER_IRQ (10)

#define MPS2_CLOCK_MHZ (25) // of timers and SysTick

#endif
