// What startup.S and trap.c share. Read by the assembler too.
#ifndef QEMU_TRAP_H
#define QEMU_TRAP_H

#define TRAP_STACK_SIZE (2048)

// struct trap_frame.
#define TRAP_FRAME_T (4)
#define TRAP_FRAME_A (32)
#define TRAP_FRAME_SP (64)
#define TRAP_FRAME_PC (68)
#define TRAP_FRAME_SIZE (80)

#ifndef __ASSEMBLER__
#include <stdbool.h>

// The machine's, called by the trap handler.
bool trap_timer(void);    // an alarm went off; returns whether the guard's did
void trap_external(void);
#endif

#endif
