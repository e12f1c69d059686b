// Kernels run in thread mode on PSP, everything else on MSP: interrupt handlers and MicroPython's stack check stay what they
// were, and leaving a kernel from anywhere means switching back to MSP and restoring what guard_enter saved there.

    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .section .time_critical.guard, "ax", %progbits
    .align 2

// int guard_enter(struct guard_call *call): 0 with call->result set, or the code given to guard_leave
    .global guard_enter
    .type guard_enter, %function
    .thumb_func
guard_enter:
    push {r4-r7, lr}
    mov r4, r8
    mov r5, r9
    mov r6, r10
    mov r7, r11
    push {r4-r7}
    push {r0}                   // ten words: MSP stays a multiple of 8
    ldr r1, [r0, #16]           // stack_top
    msr PSP, r1
    movs r1, #2
    msr CONTROL, r1
    isb
    ldr r4, [r0, #0]            // entry
    ldr r1, [r0, #8]
    ldr r2, [r0, #12]
    ldr r0, [r0, #4]
    blx r4
    movs r3, #0
    msr CONTROL, r3
    isb
    pop {r3}
    str r0, [r3, #20]           // result
    movs r0, #0
    b restore

// void guard_leave(int code): from thread mode on PSP; r4-r11 and PSP are whatever the kernel had
    .global guard_leave
    .type guard_leave, %function
    .thumb_func
guard_leave:
    movs r3, #0
    msr CONTROL, r3
    isb
    pop {r3}
restore:
    pop {r4-r7}
    mov r8, r4
    mov r9, r5
    mov r10, r6
    mov r11, r7
    pop {r4-r7, pc}

    .section .text.guard, "ax", %progbits
    .align 2

// Both handlers go on in C with EXC_RETURN and PSP as arguments; lr still holds EXC_RETURN, so returning ends the exception.
    .global guard_alarm_isr
    .type guard_alarm_isr, %function
    .thumb_func
guard_alarm_isr:
    mov r0, lr
    mrs r1, PSP
    ldr r2, =guard_alarm
    bx r2

    .global HardFault_Handler
    .type HardFault_Handler, %function
    .thumb_func
HardFault_Handler:
    mov r0, lr
    mrs r1, PSP
    ldr r2, =guard_fault
    bx r2
