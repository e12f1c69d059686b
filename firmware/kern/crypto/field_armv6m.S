// The inner product of field.h.

    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .section .text.field_dot, "ax", %progbits
    .align 2

// int64_t field_dot(const int32_t *a, const int32_t *b, int count): a product of 32-bit numbers is four of their halves. The sums of
// high * low and of high * high fit 32 bits, since count * |a[i]| < 2^31.
    .global field_dot
    .type field_dot, %function
    .thumb_func
field_dot:
    push {r4-r7, lr}
    mov r3, r8
    mov r4, r9
    mov r5, r10
    push {r3-r5}
    subs r1, r1, r0             // b from a
    lsls r2, r2, #2
    adds r2, r2, r0
    mov ip, r2                  // end of a
    movs r6, #0                 // r7:r6 sum of low * low and low * high
    movs r7, #0
    mov r8, r6                  // sum of high * low
    mov r9, r6                  // sum of high * high
1:
    ldr r2, [r0]
    ldr r3, [r0, r1]
    adds r0, #4
    uxth r4, r2
    asrs r2, r2, #16
    uxth r5, r3
    asrs r3, r3, #16
    mov r10, r4
    muls r4, r5, r4             // low * low, unsigned
    adds r6, r6, r4
    mov r4, r10
    bcc 2f
    adds r7, #1
2:
    muls r5, r2, r5             // high of a * low of b
    add r8, r5
    muls r2, r3, r2             // high * high
    add r9, r2
    muls r4, r3, r4             // low of a * high of b
    lsls r5, r4, #16
    asrs r4, r4, #16
    adds r6, r6, r5
    adcs r7, r4
    cmp r0, ip
    bne 1b
    mov r4, r8
    lsls r5, r4, #16
    asrs r4, r4, #16
    adds r0, r6, r5
    adcs r4, r7
    add r4, r9
    movs r1, r4
    pop {r2-r4}
    mov r8, r2
    mov r9, r3
    mov r10, r4
    pop {r4-r7, pc}
