// Kernels run in machine mode as everything does, on a stack of their own: leaving a kernel from anywhere means taking the
// stack pointer that guard_run left in guard_state and restoring what it saved there.

#include "guard_riscv32.h"

#define SAVED (80) // bytes, a multiple of 16
#define MSTATUS_MIE (8)

    .section .text.guard_run, "ax", @progbits
    .align 2

// int guard_run(calls, count, kind, end). From here to guard_run_end nothing is diverted by the deadline: an interrupted pc outside of it,
// with sp in the kernel stack, is inside a kernel.
    .global guard_run
    .type guard_run, @function
guard_run:
    csrr t0, mstatus
    andi t0, t0, MSTATUS_MIE
    beqz t0, .Lbusy
    addi sp, sp, -SAVED
    sw ra, 0(sp)
    sw s0, 4(sp)
    sw s1, 8(sp)
    sw s2, 12(sp)
    sw s3, 16(sp)
    sw s4, 20(sp)
    sw s5, 24(sp)
    sw s6, 28(sp)
    sw s7, 32(sp)
    sw s8, 36(sp)
    sw s9, 40(sp)
    sw s10, 44(sp)
    sw s11, 48(sp)
    sw gp, 52(sp)
    sw tp, 56(sp)
    sw a0, 60(sp)
    sw a3, 64(sp)
    mv s0, a0                   // next of calls
    slli s1, a1, 2
    add s1, s1, a0              // end of calls
    mv s2, a2
    la s4, guard_state
    li t0, 1
    sw t0, GUARD_STATE_ACTIVE(s4)
    sw sp, GUARD_STATE_STACK(s4)
    lw s3, GUARD_STATE_TICKET(s4)
    lw t0, GUARD_STATE_TICKING(s4)
    bnez t0, .Lticking
    call guard_start_ticking
.Lticking:
    guard_cycles t0
    sw t0, 68(sp)
    li sp, GUARD_PROGRESS
    li s4, GUARD_CLOCK_MHZ
.Lnext:
    lw t0, 0(s0)
    addi s0, s0, 4
    andi t1, t0, 3
    bnez t1, .Lnot_ready
    lw t1, GUARD_CALL_KIND(t0)
    bne t1, s2, .Lnot_ready
    lw t1, GUARD_CALL_TICKET(t0)
    bne t1, s3, .Lnot_ready
    lw t1, GUARD_CALL_DEADLINE(t0)
    mul t2, t1, s4
    mulhu t3, t1, s4
    guard_clock t4, t5, t6
    add t2, t2, t4
    sltu t4, t2, t4
    add t3, t3, t5
    add t3, t3, t4
    sw t2, GUARD_PROGRESS_DEADLINE(sp)
    sw t3, GUARD_PROGRESS_DEADLINE + 4(sp)
    sw s0, GUARD_PROGRESS_NEXT(sp)
    guard_cycles t1
    sw t1, GUARD_PROGRESS_BEGAN(sp)
    lw a0, GUARD_CALL_ARG(t0)
    lw a1, GUARD_CALL_ARG + 4(t0)
    lw a2, GUARD_CALL_ARG + 8(t0)
    lw t0, GUARD_CALL_ENTRY(t0)
    jalr t0
    bnez a0, .Lreturned
    bne s0, s1, .Lnext

// void guard_leave(int code): on the kernel stack; all registers but a0 are whatever the kernel had
    .global guard_leave
    .type guard_leave, @function
guard_leave:
    la t0, guard_state
    lw sp, GUARD_STATE_STACK(t0)
    sw zero, GUARD_STATE_ACTIVE(t0)
    lw t0, 68(sp)
    guard_cycles t1
    sub t1, t1, t0
    srli t1, t1, GUARD_CYCLES_SHIFT
    lw a1, 64(sp)
    sw t1, GUARD_END_CYCLES(a1)
    lw a2, 60(sp)
    lw tp, 56(sp)
    lw gp, 52(sp)
    lw s11, 48(sp)
    lw s10, 44(sp)
    lw s9, 40(sp)
    lw s8, 36(sp)
    lw s7, 32(sp)
    lw s6, 28(sp)
    lw s5, 24(sp)
    lw s4, 20(sp)
    lw s3, 16(sp)
    lw s2, 12(sp)
    lw s1, 8(sp)
    lw s0, 4(sp)
    lw ra, 0(sp)
    addi sp, sp, SAVED
    beqz a0, .Lend
    tail guard_ended            // (code, end, calls)
.Lend:
    ret

.Lreturned:
    sw a0, GUARD_PROGRESS_RETURNED(sp)
    li a0, GUARD_RETURNED
    j guard_leave
.Lnot_ready:
    sw s0, GUARD_PROGRESS_NEXT(sp)
    li a0, GUARD_NOT_READY
    j guard_leave
.Lbusy:
    li a0, GUARD_BUSY
    ret
    .global guard_run_end
guard_run_end:
