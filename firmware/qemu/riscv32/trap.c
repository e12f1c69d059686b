// Interrupts and exceptions, in machine mode: one is handled after the other.
#include "trap.h"

#include <stddef.h>
#include <stdio.h>

#include "guard.h"
#include "guard_riscv32.h"
#include "semihosting.h"

#define INTERRUPT (1u << 31) // of mcause
#define TIMER (INTERRUPT | 7)
#define EXTERNAL (INTERRUPT | 11)
#define LOAD_MISALIGNED (4)
#define STORE_FAULT (7)

// What startup.S saves of what was interrupted, and puts back.
struct trap_frame {
    uint32_t ra, t[7], a[8], sp, pc;
};

_Static_assert(offsetof(struct trap_frame, t) == TRAP_FRAME_T && offsetof(struct trap_frame, a) == TRAP_FRAME_A
               && offsetof(struct trap_frame, sp) == TRAP_FRAME_SP && offsetof(struct trap_frame, pc) == TRAP_FRAME_PC
               && sizeof(struct trap_frame) <= TRAP_FRAME_SIZE, "frame");

void trap_handle(struct trap_frame *frame);
_Noreturn void trap_stop(uint32_t pc);

#define READ_CSR(name) ({ uint32_t value; __asm volatile ("csrr %0, " name : "=r" (value)); value; })

// An exception that no kernel made: the machine ends, and says so.
void trap_stop(uint32_t pc) {
    static char text[80];
    snprintf(text, sizeof(text), "exception %lu at 0x%08lx, value 0x%08lx\n", (unsigned long)READ_CSR("mcause"), (unsigned long)pc,
        (unsigned long)READ_CSR("mtval"));
    semihosting(SEMIHOSTING_WRITE0, text);
    semihosting_exit();
}

static void exception(struct trap_frame *frame, uint32_t cause) {
    bool access = LOAD_MISALIGNED <= cause && cause <= STORE_FAULT;
    if (!guard_fault(frame->sp, &frame->pc, &frame->a[0], access ? READ_CSR("mtval") : GUARD_NO_ADDRESS)) {
        trap_stop(frame->pc);
    }
}

void trap_handle(struct trap_frame *frame) {
    uint32_t cause = READ_CSR("mcause");
    switch (cause) {
        case TIMER:
            if (trap_timer()) {
                guard_alarm(frame->sp, &frame->pc, &frame->a[0]);
            }
            break;
        case EXTERNAL:
            trap_external();
            break;
        default:
            exception(frame, cause);
            break;
    }
}
