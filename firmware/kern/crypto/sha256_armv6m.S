// The compression function of sha256.c.

    .syntax unified
    .cpu cortex-m0plus
    .thumb

// A round. a is in r0 and e in r1, the others in high registers. b, c and d become c, d and a free register, in which a is left as the
// next b; e is left in h's. So after three rounds every variable is where it was.
    .macro ROUND b, c, d, f, g, h
    pop {r2}                    // word
    ldmia r7!, {r3}             // constant
    adds r2, r3
    add r2, \h
    mov r3, \f                  // choose
    mov r4, \g
    eors r3, r4
    ands r3, r1
    eors r3, r4
    adds r2, r3
    mov \h, r1
    mov r3, r1                  // e rotated by 6, 11 and 25
    rors r3, r5
    eors r3, r1
    movs r4, #5
    rors r3, r4
    eors r3, r1
    movs r4, #6
    rors r3, r4
    adds r2, r3
    mov r1, \d
    adds r1, r2
    mov \d, r0
    mov r3, \b                  // majority
    eors r3, r0
    mov r4, \c
    eors r4, r0
    ands r3, r4
    eors r3, r0
    adds r2, r3
    mov r3, r0                  // a rotated by 2, 13 and 22
    movs r4, #9
    rors r3, r4
    eors r3, r0
    movs r4, #11
    rors r3, r4
    eors r3, r0
    movs r4, #2
    rors r3, r4
    adds r0, r2, r3
    .endm

    .section .text.sha256_compress, "ax", %progbits
    .align 2

// void sha256_compress(uint32_t state[8], const uint32_t block[16], const uint32_t constants[64]): the 64 words are on the stack, and the
// rounds pop them. What an interrupt overwrites below the stack pointer has been used.
    .global sha256_compress
    .type sha256_compress, %function
    .thumb_func
sha256_compress:
    push {r4-r7, lr}
    mov r4, r8
    mov r5, r9
    mov r6, r10
    mov r7, r11
    push {r0, r4-r7}
    mov ip, r2                  // constants
    sub sp, #256
    mov r0, sp
    movs r7, #64
    adds r7, r1                 // end of block
1:
    ldmia r1!, {r2-r5}
    rev r2, r2
    rev r3, r3
    rev r4, r4
    rev r5, r5
    stmia r0!, {r2-r5}
    cmp r1, r7
    bne 1b
    mov r0, sp
    movs r1, #192
    adds r1, r0
    mov r9, r1                  // of the words the last that another is made from, and one
    ldr r3, [r0]
    mov r8, r3
    movs r4, #11
    movs r5, #7
    movs r6, #2
    movs r7, #17
2:
    ldr r3, [r0, #4]            // rotated by 7 and 18, shifted by 3
    mov r1, r3
    rors r1, r4
    eors r1, r3
    rors r1, r5
    lsrs r2, r3, #3
    eors r1, r2
    add r1, r8                  // the word before
    mov r8, r3
    ldr r3, [r0, #36]
    adds r1, r3
    ldr r3, [r0, #56]           // rotated by 17 and 19, shifted by 10
    mov r2, r3
    rors r2, r6
    eors r2, r3
    rors r2, r7
    lsrs r3, r3, #10
    eors r2, r3
    adds r1, r2
    str r1, [r0, #64]
    adds r0, #4
    cmp r0, r9
    bne 2b
    ldr r7, [sp, #256]          // state
    ldmia r7!, {r0-r3}
    mov r8, r1
    mov r9, r2
    mov r10, r3
    ldmia r7!, {r1-r4}
    mov r11, r2
    mov r7, ip
    mov ip, r3
    mov lr, r4
    movs r5, #14
    movs r6, #252
    adds r6, r7                 // the last constant
3:
    ROUND r8, r9, r10, r11, ip, lr
    ROUND r10, r8, r9, lr, r11, ip
    ROUND r9, r10, r8, ip, lr, r11
    cmp r7, r6
    bne 3b
    ROUND r8, r9, r10, r11, ip, lr
    pop {r6}                    // state
    ldmia r6!, {r2-r5}
    adds r2, r0
    add r3, r10
    add r4, r8
    add r5, r9
    subs r6, #16
    stmia r6!, {r2-r5}
    ldmia r6!, {r2-r5}
    adds r2, r1
    add r3, lr
    add r4, r11
    add r5, ip
    subs r6, #16
    stmia r6!, {r2-r5}
    pop {r4-r7}
    mov r8, r4
    mov r9, r5
    mov r10, r6
    mov r11, r7
    pop {r4-r7, pc}
