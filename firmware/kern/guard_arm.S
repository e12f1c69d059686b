// The guard of Cortex-M, in the instructions that all of them have. Kernels run in thread mode on PSP, everything else on MSP:
// interrupt handlers and MicroPython's stack check stay what they were, and leaving a kernel from anywhere means switching back to MSP
// and restoring what guard_run saved there.

#include "guard_arm.h"

    .syntax unified
    .thumb

// Registers of the FPU that a function keeps. Space for them, on MSP, keeps it a multiple of 8.
    .macro save_floats
#ifdef __ARM_FP
    vpush {s16-s31}
#endif
    .endm
    .macro restore_floats
#ifdef __ARM_FP
    vpop {s16-s31}
#endif
    .endm

    .section .time_critical.guard, "ax", %progbits
    .align 2

// int guard_run(calls, count, kind, end). From here to guard_run_end nothing is diverted by the deadline: an interrupted pc outside of it
// is inside a kernel.
    .global guard_run
    .type guard_run, %function
    .thumb_func
guard_run:
    push {r3-r7, lr}
    mov r4, r8
    mov r5, r9
    mov r6, r10
    mov r7, r11
    push {r4-r7}
    mrs r4, IPSR
    guard_core_number r5
    orrs r4, r5
    bne .Lbusy
    movs r4, r0                 // next of calls
    lsls r7, r1, #2
    adds r7, r0                 // end of calls
    mov r8, r2
    ldr r5, =guard_state
    movs r2, #1
    str r2, [r5, #GUARD_STATE_ACTIVE]
    ldr r2, [r5, #GUARD_STATE_TICKET]
    mov r9, r2
    ldr r2, [r5, #GUARD_STATE_TICKING]
    cmp r2, #0
    beq .Lstart_ticking
.Lticking:
    ldr r6, =GUARD_SYSTICK
    movs r2, #5
    ldr r3, =0xffffff
    stmia r6!, {r2, r3}         // each time: machine.bitstream uses SysTick too
    ldr r3, [r6]
    push {r3, r4}               // twelve words: MSP stays a multiple of 8
    save_floats
    ldr r6, =GUARD_CLOCK
    ldr r0, =GUARD_PROGRESS
    msr PSP, r0
    movs r0, #2
    msr CONTROL, r0
    isb
.Lnext:
    ldmia r4!, {r5}
    lsls r0, r5, #30
    bne .Lnot_ready
    ldmia r5!, {r0-r2}          // kind, ticket, deadline_us
    cmp r0, r8
    bne .Lnot_ready
    cmp r1, r9
    bne .Lnot_ready
    ldr r3, [r6]
    adds r2, r3
    str r2, [sp, #GUARD_PROGRESS_DEADLINE]
    str r4, [sp, #GUARD_PROGRESS_NEXT]
    ldmia r5!, {r0-r3}          // arg, entry
    blx r3
    cmp r0, #0
    bne .Lreturned
    cmp r4, r7
    bne .Lnext

// void guard_leave(int code): from thread mode on PSP; r4-r11, s16-s31 and PSP are whatever the kernel had
    .global guard_leave
    .type guard_leave, %function
    .thumb_func
guard_leave:
    movs r3, #0
    msr CONTROL, r3
    isb
    ldr r5, =guard_state
    str r3, [r5, #GUARD_STATE_ACTIVE]
    ldr r3, =GUARD_SYSTICK
    ldr r3, [r3, #8]
    restore_floats
    pop {r1, r2}
    subs r3, r1, r3
    lsls r3, #8
    lsrs r3, #8
    guard_to_cycles r3, r5
    pop {r4-r7}
    mov r8, r4
    mov r9, r5
    ldr r1, [sp]
    str r3, [r1, #GUARD_END_CYCLES]
    cmp r0, #0
    bne .Lended
    pop {r3-r7, pc}
.Lended:
    mov r10, r6                 // a kernel that returned has put these back itself
    mov r11, r7
    ldr r3, =guard_ended        // (code, end, calls)
    blx r3
    pop {r3-r7, pc}

.Lreturned:
    str r0, [sp, #GUARD_PROGRESS_RETURNED]
    ldr r0, =GUARD_RETURNED
    b guard_leave
.Lnot_ready:
    str r4, [sp, #GUARD_PROGRESS_NEXT]
    ldr r0, =GUARD_NOT_READY
    b guard_leave
.Lstart_ticking:
    ldr r3, =guard_start_ticking
    blx r3
    b .Lticking
.Lbusy:
    add sp, #16
    ldr r0, =GUARD_BUSY
    pop {r3-r7, pc}
    .align 2
    .ltorg
    .global guard_run_end
guard_run_end:

    .section .text.guard, "ax", %progbits
    .align 2

// Goes on in C with EXC_RETURN and PSP as arguments; lr still holds EXC_RETURN, so returning ends the exception.
    .global guard_alarm_isr
    .type guard_alarm_isr, %function
    .thumb_func
guard_alarm_isr:
    mov r0, lr
    mrs r1, PSP
    ldr r2, =guard_alarm
    bx r2

// The same, with r4-r7 of what faulted as a third argument.
    .global HardFault_Handler
    .type HardFault_Handler, %function
    .thumb_func
HardFault_Handler:
    mov r0, lr
    mrs r1, PSP
    push {r4-r7, lr}
    mov r2, sp
    bl guard_fault
    pop {r4-r7, pc}
