// From reset to main, and the way into traps.
//
// Traps have a stack of their own: the one that they find may be a kernel's, which that has ruined. mscratch has its upper end, or 0
// while a trap is handled.

#include "trap.h"

    .section .start, "ax", @progbits
    .global start
    .type start, @function
start:
    la sp, __stack_start
    la t0, trap
    csrw mtvec, t0
    la t0, trap_stack_end
    csrw mscratch, t0
    la a0, __data_start
    la a1, __data_load
    la a2, __data_end
    sub a2, a2, a0
    call memcpy
    la a0, __bss_start
    li a1, 0
    la a2, __bss_end
    sub a2, a2, a0
    call memset
    csrsi mstatus, 8            // MIE
    call main
1:  j 1b

    .section .text.trap, "ax", @progbits
    .align 2
    .type trap, @function
trap:
    csrrw sp, mscratch, sp
    beqz sp, .Lin_trap
    addi sp, sp, -TRAP_FRAME_SIZE
    sw ra, 0(sp)
    sw t0, TRAP_FRAME_T + 0(sp)
    sw t1, TRAP_FRAME_T + 4(sp)
    sw t2, TRAP_FRAME_T + 8(sp)
    sw t3, TRAP_FRAME_T + 12(sp)
    sw t4, TRAP_FRAME_T + 16(sp)
    sw t5, TRAP_FRAME_T + 20(sp)
    sw t6, TRAP_FRAME_T + 24(sp)
    sw a0, TRAP_FRAME_A + 0(sp)
    sw a1, TRAP_FRAME_A + 4(sp)
    sw a2, TRAP_FRAME_A + 8(sp)
    sw a3, TRAP_FRAME_A + 12(sp)
    sw a4, TRAP_FRAME_A + 16(sp)
    sw a5, TRAP_FRAME_A + 20(sp)
    sw a6, TRAP_FRAME_A + 24(sp)
    sw a7, TRAP_FRAME_A + 28(sp)
    csrrw t0, mscratch, zero
    sw t0, TRAP_FRAME_SP(sp)
    csrr t0, mepc
    sw t0, TRAP_FRAME_PC(sp)
    mv a0, sp
    call trap_handle
    lw t0, TRAP_FRAME_PC(sp)
    csrw mepc, t0
    addi t0, sp, TRAP_FRAME_SIZE
    csrw mscratch, t0
    lw ra, 0(sp)
    lw t0, TRAP_FRAME_T + 0(sp)
    lw t1, TRAP_FRAME_T + 4(sp)
    lw t2, TRAP_FRAME_T + 8(sp)
    lw t3, TRAP_FRAME_T + 12(sp)
    lw t4, TRAP_FRAME_T + 16(sp)
    lw t5, TRAP_FRAME_T + 20(sp)
    lw t6, TRAP_FRAME_T + 24(sp)
    lw a0, TRAP_FRAME_A + 0(sp)
    lw a1, TRAP_FRAME_A + 4(sp)
    lw a2, TRAP_FRAME_A + 8(sp)
    lw a3, TRAP_FRAME_A + 12(sp)
    lw a4, TRAP_FRAME_A + 16(sp)
    lw a5, TRAP_FRAME_A + 20(sp)
    lw a6, TRAP_FRAME_A + 24(sp)
    lw a7, TRAP_FRAME_A + 28(sp)
    lw sp, TRAP_FRAME_SP(sp)
    mret

.Lin_trap:
    la sp, trap_stack_end
    csrr a0, mepc
    tail trap_stop

    .section .bss.trap_stack, "aw", @nobits
    .align 4
    .space TRAP_STACK_SIZE
trap_stack_end:
