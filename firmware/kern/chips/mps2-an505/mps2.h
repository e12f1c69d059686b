// Cortex-M33: what is where on Arm's board MPS2+ with the FPGA image AN505, in the secure state in which it starts.
#ifndef KERN_MPS2_H
#define KERN_MPS2_H

#define MPS2_TIMER0 (0x50000000)
#define MPS2_TIMER1 (0x50001000)
#define MPS2_DUAL_TIMER (0x50002000)
#define MPS2_UART0 (0x50200000)
#define MPS2_FPGAIO (0x50302000)

#define MPS2_UART0_RX_IRQ (32)
#define MPS2_TIMER0_IRQ (3)
#define MPS2_TIMER1_IRQ (4)
#define MPS2_DUAL_TIMER_IRQ (5)

#define MPS2_CLOCK_MHZ (20) // of timers and SysTick

#endif
