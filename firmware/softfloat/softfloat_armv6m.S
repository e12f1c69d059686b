// The usual operands, in RAM; anything else goes on in softfloat_rare.c with the same arguments. docs/softfloat.md says why each
// routine is exact. Registers: r0 a, r1 b, r2 and r3 as said; r12 keeps what has no other place.

    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .macro routine name
    .global \name
    .type \name, %function
    .thumb_func
\name:
    .endm

    // Go on in C, with the arguments where they were.
    .macro go_on_in name
    ldr r2, =\name
    bx r2
    .endm

// ---- add and subtract ----

    .section .time_critical.sf_add, "ax", %progbits
    .align 2

// sf_float sf_sub(sf_float a, sf_float b)
routine sf_sub
    mov r12, r4
    movs r4, #1
    lsls r4, r4, #31
    eors r1, r4
    lsls r2, r0, #1
    lsls r3, r1, #1
    cmp r2, r3
    bhs add_ordered
    b add_swap

// sf_float sf_add(sf_float a, sf_float b)
routine sf_add
    mov r12, r4
    movs r4, #1
    lsls r4, r4, #31            // 0x80000000: the hidden bit of fractions aligned to the left
    lsls r2, r0, #1
    lsls r3, r1, #1
    cmp r2, r3
    bhs add_ordered
add_swap:
    eors r0, r1
    eors r1, r0
    eors r0, r1
    lsls r2, r0, #1
    lsls r3, r1, #1
add_ordered:                    // |a| >= |b|: only a can be infinite or NaN, and the sign is a's
    lsrs r3, r3, #24
    beq add_small
    lsrs r2, r2, #24
    cmp r2, #254
    bhs add_rare
    subs r2, r2, r3             // r2: by how many places b's fraction is shifted
    beq aligned
    movs r3, r0
    eors r3, r1
    bmi differ
    lsls r1, r1, #8
    orrs r1, r4
    lsrs r1, r1, #8
    movs r3, r1                 // r3: b's fraction, r1: its part in whole units of a's last place
    movs r4, r0
    lsrs r1, r2
    adds r0, r1
    eors r4, r0
    lsrs r4, r4, #23
    bne carried
    movs r1, #32
    subs r1, r1, r2
    lsls r3, r1                 // what was shifted out, from bit 31
    adds r3, r3                 // C: the half; Z: nothing below it
    beq round_even
    adcs r0, r4                 // r4 is 0
    mov r4, r12
    bx lr

// The sum has a bit more: the exponent has moved on already, the fraction f is to become f / 2. Rounded up that is f - f/2.
carried:
    lsls r1, r0, #9
    lsrs r1, r1, #10            // C: the bit that goes
    bcs 1f
    subs r0, r1
    mov r4, r12
    bx lr
1:
    movs r4, #32
    subs r4, r4, r2
    lsls r3, r4
    beq 2f
    subs r0, r1
    mov r4, r12
    bx lr
2:                              // a tie
    subs r0, r1
    b clear_odd

// C: exactly half a unit is to be added, which ends on the even neighbour; else nothing is
round_even:
    bcc 1f
    adds r0, #1
clear_odd:
    movs r1, #1
    bics r0, r1
1:
    mov r4, r12
    bx lr

add_small:                      // b is zero or denormal: finite + zero is quick
    lsls r3, r1, #1
    bne add_rare
    lsrs r3, r2, #24
    cmp r3, #255
    beq add_rare
    cmp r2, #0
    beq add_rare
    mov r4, r12
    bx lr
add_rare:
    mov r4, r12
    go_on_in sf_add_rare

differ:
    lsls r1, r1, #8
    orrs r1, r4
    cmp r2, #1
    beq near
    lsrs r1, r1, #8
    movs r3, r1
    movs r4, #32
    subs r4, r4, r2
    lsls r3, r4
    lsrs r1, r2
    movs r4, r0
    negs r3, r3                 // C: nothing was shifted out; else one more is borrowed, and r3 is what of it remains
    sbcs r0, r1
    eors r4, r0
    lsrs r4, r4, #23
    bne borrowed
    adds r3, r3
    beq round_even
    adcs r0, r4                 // r4 is 0
    mov r4, r12
    bx lr

// The difference has a bit less (not more: b is at most half of a): the exponent has gone back already, and the fraction that is
// there, f of 2^23 units, is to become 2f - 2^23 and the next bit. Adds f - 2^23: f's upper bit is set, so its sign is extended.
borrowed:
    lsls r1, r0, #9
    asrs r1, r1, #9
    adds r3, r3
    adcs r0, r1
    adds r3, r3
    beq round_even
    bcc 1f
    adds r0, #1
1:
    mov r4, r12
    bx lr

// Exponents are equal. The sum is (2^24 + f + g) / 2 units of the next exponent.
aligned:
    movs r3, r0
    eors r3, r1
    bmi 1f
    lsls r1, r1, #9
    lsrs r1, r1, #9
    lsls r2, r0, #9
    lsrs r2, r2, #9
    subs r0, r0, r2
    lsrs r4, r4, #8
    adds r0, r4
    adds r1, r2
    lsrs r1, r1, #1             // C: the half
    bcs 2f
    adds r0, r1
    mov r4, r12
    bx lr
2:
    adcs r0, r1
    b clear_odd
1:
    lsls r3, r0, #8             // with the exponents' last bits, which are equal
    lsls r1, r1, #8
    subs r3, r3, r1
    beq cancelled
    b lessened

// Exponents are neighbours. Here and above the difference is exact, but may have lost any number of leading bits.
near:
    lsls r3, r0, #8
    orrs r3, r4
    lsrs r1, r1, #1
    subs r3, r3, r1             // r3: the difference, a's hidden bit at bit 31; not 0, as a is the greater
    bmi full
lessened:
    lsrs r2, r0, #23            // r2: sign and exponent
    uxtb r1, r2
    cmp r1, #32
    blo near_least
    subs r2, #1                 // mostly one or two bits
    lsls r3, r3, #1
    bmi 4f
    subs r2, #1
    lsls r3, r3, #1
    bmi 4f
1:
    lsrs r1, r3, #24
    bne 2f
    subs r2, #8
    lsls r3, r3, #8
    b 1b
2:
    cmp r3, #0
    bmi 4f
3:
    subs r2, #1
    lsls r3, r3, #1
    bpl 3b
4:
    lsls r2, r2, #23
    lsls r3, r3, #1
    lsrs r3, r3, #9
    adds r0, r2, r3
    mov r4, r12
    bx lr

full:                           // no bit lost, and perhaps one too many
    lsrs r0, r0, #23
    lsls r0, r0, #23
    lsls r3, r3, #1
    lsrs r3, r3, #9             // C: the half
    bcs 1f
    adds r0, r3
    mov r4, r12
    bx lr
1:
    adcs r0, r3
    b clear_odd

near_least:                     // the result may be denormal
    lsrs r0, r2, #8
    lsls r0, r0, #31
1:
    cmp r1, #1
    beq 2f
    subs r1, #1
    lsls r3, r3, #1
    bpl 1b
2:                              // a hidden bit moves the exponent on, so it begins one lower
    subs r1, #1
    lsls r1, r1, #23
    lsrs r3, r3, #8
    adds r0, r1
    adds r0, r3
    mov r4, r12
    bx lr

cancelled:
    movs r0, #0
    mov r4, r12
    bx lr
    .pool

// ---- multiply ----

// With f and g the fractions without their hidden bits, 23 bits each, the product is (2^23 + f + g + fg/2^23) units of its last
// place; and the words a + b hold f + g and the sum of exponents, and the product's sign, once the bias is taken off.

    .section .time_critical.sf_mul, "ax", %progbits
    .align 2

// sf_float sf_mul(sf_float a, sf_float b)
routine sf_mul
    lsls r2, r0, #1
    lsrs r2, r2, #24
    beq mul_rare
    lsls r3, r1, #1
    lsrs r3, r3, #24
    beq mul_rare
    cmp r2, #255
    beq mul_rare
    cmp r3, #255
    beq mul_rare
    adds r2, r3
    subs r2, #128
    cmp r2, #252                // whatever the fractions are, the exponent is from 1 to 254
    bhi mul_rare
    mov r12, r0
    add r12, r1
    lsls r0, r0, #9
    lsrs r0, r0, #9
    lsls r1, r1, #9
    lsrs r1, r1, #9
    adds r3, r0, r1
    movs r2, r0
    muls r2, r1                 // r2: the lower word of fg, exactly
    lsrs r0, r0, #8
    lsrs r1, r1, #8
    muls r0, r1
    lsrs r0, r0, #7             // at most fg >> 23, and less by under 2^9, so the lower word's upper nine bits tell by how much
    lsls r1, r0, #23
    subs r1, r2, r1
    lsrs r1, r1, #23
    adds r0, r1                 // r0: fg >> 23
    adds r3, r0                 // r3: the product in units, less 2^23
    lsrs r1, r3, #23
    bne 1f
    ldr r1, =-(127 << 23)
    lsls r2, r2, #10            // C: the half; Z: nothing below it
    beq 3f
    adcs r0, r1
    add r0, r12
    bx lr
1:                              // two or more: the exponent has moved on, the fraction h = r3 - 2^23 becomes h / 2, as in carried
    ldr r1, =-(127 << 23) + (1 << 22)
    adds r0, r1
    lsls r2, r2, #9
    beq 2f
    lsrs r3, r3, #1
    subs r0, r3
    add r0, r12
    bx lr
2:
    lsrs r3, r3, #1
    bcs 4f
    subs r0, r3
    add r0, r12
    bx lr
3:
    bcs 5f
    adds r0, r1
    add r0, r12
    bx lr
4:                              // ties
    subs r0, r3
    b 6f
5:
    adcs r0, r1
6:
    add r0, r12
    movs r1, #1
    bics r0, r1
    bx lr
mul_rare:                       // zero times finite is quick
    lsls r2, r0, #1
    beq 1f
    lsls r2, r1, #1
    bne 2f
1:
    eors r0, r1                 // the sign, and the other operand's exponent and fraction
    asrs r2, r0, #23
    adds r2, #1
    lsls r2, r2, #24
    beq 3f
    lsrs r0, r0, #31
    lsls r0, r0, #31
    bx lr
3:
    eors r0, r1
2:
    go_on_in sf_mul_rare
    .pool

// ---- divide and square root ----

// A table's reciprocal of the divisor, made good to 16 bits by a step of Newton's, which comes out below; two digits of the
// quotient, of which the second leaves less than one and a half; a half decides. The quotient of two floats is never halfway.

    .section .time_critical.sf_div, "ax", %progbits
    .align 2

// sf_float sf_div(sf_float a, sf_float b)
routine sf_div
    lsls r2, r0, #1
    lsrs r2, r2, #24
    beq div_rare
    lsls r3, r1, #1
    lsrs r3, r3, #24
    beq div_rare
    cmp r2, #255
    beq div_rare
    cmp r3, #255
    beq div_rare
    subs r2, r2, r3
    adds r2, #125
    cmp r2, #251                // whatever the fractions are, the exponent is from 1 to 253
    bhi div_rare
    subs r2, r0, r1             // borrows from the exponent if a's fraction is the lesser, as the quotient does
    lsrs r2, r2, #23
    adds r2, #126
    lsls r2, r2, #11
    mov r12, r2                 // sign and exponent, to be shifted by 12 with the first digit
    movs r3, #1
    lsls r3, r3, #31
    lsls r0, r0, #8
    orrs r0, r3
    lsls r1, r1, #8
    orrs r1, r3
    cmp r0, r1
    blo 1f
    lsrs r0, r0, #1
1:
    lsrs r1, r1, #8             // r1: b's fraction B, 24 bits; r0: A * 2^7, where A is a's, or twice it, so that B <= A < 2B
    lsrs r3, r1, #16
    adr r2, reciprocals - 128
    ldrb r3, [r2, r3]           // r3: about 2^31 / B
    lsls r2, r1, #1
    muls r2, r3
    negs r2, r2                 // 2^32 less their product: the error
    asrs r2, r2, #9
    muls r2, r3
    asrs r2, r2, #15
    lsls r3, r3, #8
    adds r3, r2                 // r3: at most 2^39 / B
    lsrs r2, r0, #15
    muls r2, r3
    lsrs r2, r2, #20            // first digit of 12 bits
    add r12, r2
    lsls r0, r0, #4
    muls r2, r1
    subs r0, r2                 // what is left of A * 2^11
    lsrs r2, r0, #8
    muls r2, r3
    lsrs r2, r2, #19            // r2: second digit
    lsls r0, r0, #12
    movs r3, r2
    muls r3, r1
    subs r3, r0, r3             // r3: what is left of A * 2^23
    adds r3, r3
    mov r0, r12
    lsls r0, r0, #12
    cmp r3, r1                  // C: half of B or more
    adcs r0, r2
    bx lr
div_rare:
    go_on_in sf_div_rare

// A table's 1 / sqrt(m), made good to 16 bits by a step of Newton's, which comes out below; from it 16 bits of the root, and the rest
// from what they leave, to less than one and a half; a half decides.

// sf_float sf_sqrt(sf_float a)
routine sf_sqrt
    lsrs r1, r0, #23
    subs r1, #1
    cmp r1, #253
    bhi sqrt_rare
    lsls r2, r0, #8
    lsrs r2, r2, #25
    adr r3, roots
    ldrb r2, [r3, r2]           // r2: about 2^8 / sqrt(m)
    movs r3, #1
    lsls r3, r3, #31
    lsls r0, r0, #8
    orrs r0, r3
    lsrs r1, r1, #1
    bcs 1f
    lsrs r0, r0, #1             // r0: m * 2^30, from 1 to 4
1:
    adds r1, #63
    lsls r1, r1, #23
    mov r12, r1                 // exponent
    movs r3, r2
    muls r3, r3
    lsrs r1, r0, #9
    muls r3, r1
    negs r3, r3                 // (1 - m * r2^2) * 2^37
    asrs r3, r3, #14
    muls r3, r2
    asrs r3, r3, #16
    lsls r2, r2, #8
    adds r2, r3                 // r2: at most 2^16 / sqrt(m)
    lsrs r3, r0, #15
    muls r3, r2
    lsrs r3, r3, #16            // r3: at most sqrt(m) * 2^15
    movs r1, r3
    muls r1, r1
    subs r0, r1                 // what is left of m * 2^30
    lsrs r1, r0, #4
    muls r1, r2
    lsrs r1, r1, #20            // r1: what is left of the root, to be added to r3 * 2^8
    lsls r0, r0, #16
    lsls r2, r3, #9
    adds r2, r1
    muls r2, r1
    subs r0, r2                 // what is left of m * 2^46
    lsls r3, r3, #8
    adds r3, r1                 // r3: the root; clears C
    sbcs r0, r3                 // C: more than the root is left, so the root is nearer to the next
    mov r0, r12
    adcs r0, r3
    bx lr
sqrt_rare:
    go_on_in sf_sqrt_rare
    .pool

    .align 2
reciprocals:                    // for B from 2^16 (128 + i) on: 2^31 / B in its middle, rounded
    .byte 255, 253, 251, 249, 247, 245, 244, 242, 240, 238, 237, 235, 233, 232, 230, 228
    .byte 227, 225, 224, 222, 221, 219, 218, 216, 215, 213, 212, 211, 209, 208, 207, 205
    .byte 204, 203, 202, 200, 199, 198, 197, 196, 194, 193, 192, 191, 190, 189, 188, 187
    .byte 186, 185, 184, 183, 182, 181, 180, 179, 178, 177, 176, 175, 174, 173, 172, 171
    .byte 170, 169, 168, 168, 167, 166, 165, 164, 163, 163, 162, 161, 160, 159, 159, 158
    .byte 157, 156, 156, 155, 154, 153, 153, 152, 151, 151, 150, 149, 149, 148, 147, 147
    .byte 146, 145, 145, 144, 143, 143, 142, 142, 141, 140, 140, 139, 139, 138, 137, 137
    .byte 136, 136, 135, 135, 134, 133, 133, 132, 132, 131, 131, 130, 130, 129, 129, 128
roots:                          // first for m from 2 to 4, then from 1 to 2: 2^8 / sqrt(m) in the middle of 64 parts, rounded
    .byte 180, 179, 178, 176, 175, 174, 172, 171, 170, 169, 168, 167, 166, 164, 163, 162
    .byte 161, 160, 159, 158, 158, 157, 156, 155, 154, 153, 152, 151, 151, 150, 149, 148
    .byte 147, 147, 146, 145, 144, 144, 143, 142, 142, 141, 140, 140, 139, 138, 138, 137
    .byte 137, 136, 135, 135, 134, 134, 133, 132, 132, 131, 131, 130, 130, 129, 129, 128
    .byte 255, 253, 251, 249, 247, 246, 244, 242, 241, 239, 237, 236, 234, 233, 231, 230
    .byte 228, 227, 225, 224, 223, 221, 220, 219, 218, 216, 215, 214, 213, 212, 211, 210
    .byte 208, 207, 206, 205, 204, 203, 202, 201, 200, 199, 198, 198, 197, 196, 195, 194
    .byte 193, 192, 191, 191, 190, 189, 188, 187, 187, 186, 185, 184, 184, 183, 182, 181

// ---- compare ----

    .section .time_critical.sf_compare, "ax", %progbits
    .align 2

// int sf_compare(enum sf_condition condition, sf_float a, sf_float b)
routine sf_compare
    lsls r3, r0, #1
    movs r0, r1
    movs r1, r2
    add pc, r3
    nop                         // pc is two instructions on
    b sf_eq
    b sf_ne
    b sf_lt
    b sf_gt
    b sf_le
    b sf_ge

// int sf_unordered(sf_float a, sf_float b)
routine sf_unordered
    movs r2, #255
    lsls r2, r2, #24
    lsls r0, r0, #1
    cmp r2, r0
    blo 1f
    lsls r1, r1, #1
    cmp r2, r1
    blo 1f
    movs r0, #0
    bx lr
1:
    movs r0, #1
    bx lr

    .macro equality name, equal, unequal
routine \name
    cmp r0, r1
    bne 1f
    lsls r0, r0, #1
    movs r2, #255
    lsls r2, r2, #24
    cmp r2, r0
    blo 2f                      // a NaN is not itself
    movs r0, #\equal
    bx lr
1:
    orrs r0, r1
    lsls r0, r0, #1
    beq 3f                      // zeros of both signs
2:
    movs r0, #\unequal
    bx lr
3:
    movs r0, #\equal
    bx lr
    .endm

// int sf_eq(sf_float a, sf_float b), int sf_ne(sf_float a, sf_float b)
    equality sf_eq, 1, 0
    equality sf_ne, 0, 1

    // Whether x is less than y, or (or_equal) equal. As integers with signs of their own, floats are in order; where that says no,
    // NaN would make it no as well, so only a yes has to look for NaN.
    .macro order name, x, y, no_signed, no_unsigned, or_equal
routine \name
    movs r2, \x
    orrs r2, \y
    bmi 1f
    cmp \x, \y
    \no_signed 9f
    movs r2, #255
    lsls r2, r2, #23
    cmp r2, \y                  // the greater
    blo 9f
    movs r0, #1
    bx lr
1:
    cmp \y, #0
    bmi 2f
    lsls r2, r2, #1             // x < 0 <= y
    beq 8f
    movs r3, #1
    lsls r3, r3, #23
    cmn \x, r3
    bcs 3f                      // an exponent of all ones
    adds r2, \y, r3
    bmi 3f
    movs r0, #1
    bx lr
2:                              // y < 0
    cmp \x, \y
    \no_unsigned 7f
    movs r3, #1
    lsls r3, r3, #23
    cmn \x, r3
    bcs 3f
    movs r0, #1
    bx lr
3:
    go_on_in \name\()_rare
    .if \or_equal
7:
    lsls r2, r2, #1
    beq 8f                      // +0 and -0
9:
    movs r0, #0
    bx lr
8:
    movs r0, #1
    bx lr
    .else
7:
8:
9:
    movs r0, #0
    bx lr
    .endif
    .endm

// int sf_lt(sf_float a, sf_float b), sf_gt, sf_le, sf_ge
    order sf_lt, r0, r1, bge, bls, 0
    order sf_gt, r1, r0, bge, bls, 0
    order sf_le, r0, r1, bgt, blo, 1
    order sf_ge, r1, r0, bgt, blo, 1
    .pool

// ---- conversions from and to integers, and what normalising takes ----

    .section .time_critical.sf_convert, "ax", %progbits
    .align 2

// sf_float sf_from_i32(int32_t a)
routine sf_from_i32
    movs r2, #157               // r2: sign and exponent, the latter of bit 31 and less one for the hidden bit
    cmp r0, #0
    beq 9f
    bpl normalise
    negs r0, r0
    adds r2, #255
    adds r2, #1
    b normalise
9:
    bx lr

// sf_float sf_from_u32(uint32_t a)
routine sf_from_u32
    movs r2, #157
    cmp r0, #0
    beq 9b
normalise:
    lsrs r3, r0, #16
    bne 1f
    lsls r0, r0, #16
    subs r2, #16
1:
    lsrs r3, r0, #24
    bne 2f
    lsls r0, r0, #8
    subs r2, #8
2:
    lsrs r3, r0, #28
    bne 3f
    lsls r0, r0, #4
    subs r2, #4
    lsrs r3, r0, #28
3:
    adr r1, zeros
    ldrb r3, [r1, r3]
    lsls r0, r3
    subs r2, r2, r3
    lsls r2, r2, #23
    lsls r3, r0, #25
    beq 4f
    lsrs r0, r0, #8             // C: the half
    adcs r0, r2
    bx lr
4:
    lsrs r0, r0, #8
    bcs 5f
    adds r0, r2
    bx lr
5:                              // a tie
    adcs r0, r2
    movs r1, #1
    bics r0, r1
    bx lr

// uint32_t sf_clz(uint32_t a)
routine sf_clz
    movs r1, #28
    lsrs r2, r0, #16
    beq 1f
    movs r0, r2
    subs r1, #16
1:
    lsrs r2, r0, #8
    beq 2f
    movs r0, r2
    subs r1, #8
2:
    lsrs r2, r0, #4
    beq 3f
    movs r0, r2
    subs r1, #4
3:
    adr r2, zeros
    ldrb r0, [r2, r0]
    adds r0, r0, r1
    bx lr
    .align 2
zeros:                          // before the first one of four bits
    .byte 4, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0

// Shifts by 32 and more give 0, so small operands need no test.

// int32_t sf_to_i32(sf_float a)
routine sf_to_i32
    lsls r1, r0, #1
    bcs 1f
    // fall through

// uint32_t sf_to_u32(sf_float a)
routine sf_to_u32
    lsls r1, r0, #1
    lsrs r1, r1, #24
    movs r2, #158
    subs r2, r2, r1
    lsls r0, r0, #8
    movs r1, #1
    lsls r1, r1, #31
    orrs r0, r1
    lsrs r0, r2
    bx lr
1:
    lsrs r1, r1, #24
    movs r2, #158
    subs r2, r2, r1
    lsls r0, r0, #8
    movs r1, #1
    lsls r1, r1, #31
    orrs r0, r1
    lsrs r0, r2
    negs r0, r0
    bx lr

// ---- conversions from and to binary16 ----

    .section .time_critical.sf_f16, "ax", %progbits
    .align 2

// sf_float sf_from_f16(uint32_t a)
routine sf_from_f16
    lsls r1, r0, #17
    lsrs r2, r1, #27
    beq from_f16_rare
    cmp r2, #31
    beq from_f16_rare
    lsrs r1, r1, #4
    lsrs r0, r0, #15
    lsls r0, r0, #31
    adds r0, r1
    movs r2, #112               // the difference of the biases
    lsls r2, r2, #23
    adds r0, r2
    bx lr
from_f16_rare:
    go_on_in sf_from_f16_rare

// uint32_t sf_to_f16(sf_float a)
routine sf_to_f16
    lsls r1, r0, #1
    lsrs r2, r1, #24
    subs r2, #113
    cmp r2, #29
    bhi to_f16_rare
    movs r3, #112
    lsls r3, r3, #24
    subs r1, r1, r3
    lsrs r0, r0, #31
    lsls r0, r0, #15
    lsls r3, r1, #19
    beq 1f
    lsrs r1, r1, #14            // C: the half
    adcs r0, r1
    bx lr
1:
    lsrs r1, r1, #14
    bcs 2f
    adds r0, r1
    bx lr
2:                              // a tie
    adcs r0, r1
    movs r1, #1
    bics r0, r1
    bx lr
to_f16_rare:
    go_on_in sf_to_f16_rare
    .pool
