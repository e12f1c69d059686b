// Calls a function for each element of arrays. The host sets the registers and starts at `run`, or at `timed` on a board whose cycle
// counter can be read; all is done at `done`.
//   r4 function (with the Thumb bit)  r5, r6 its arguments  r7 results  r8 how many are left
// `timed` only:  r9 cycle counter  r10 cycles, including the call  r11 the counter before the call

    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .text
    .align 2

    .global run
    .thumb_func
run:
    ldr r0, [r5]
    ldr r1, [r6]
    blx r4
    str r0, [r7]
    adds r5, #4
    adds r6, #4
    adds r7, #4
    mov r3, r8
    subs r3, #1
    mov r8, r3
    bne run
    .global done
    .thumb_func
done:
    wfi
    b done

    .global timed
    .thumb_func
timed:
    ldr r0, [r5]
    ldr r1, [r6]
    mov r3, r9
    ldr r2, [r3]
    mov r11, r2
    blx r4
    mov r3, r9
    ldr r3, [r3]
    mov r2, r11
    subs r3, r3, r2
    mov r2, r10
    str r3, [r2]
    adds r2, #4
    mov r10, r2
    str r0, [r7]
    adds r5, #4
    adds r6, #4
    adds r7, #4
    mov r3, r8
    subs r3, #1
    mov r8, r3
    bne timed
    b done

    .global nothing
    .thumb_func
nothing:
    bx lr

    .macro chosen condition
    .global compare_\condition
    .thumb_func
compare_\condition:
    movs r2, r1
    movs r1, r0
    movs r0, #\condition
    ldr r3, =sf_compare
    bx r3
    .endm

    .irp condition, 0, 1, 2, 3, 4, 5, 6
    chosen \condition
    .endr
    .pool
