// A boot ROM for the emulated RP2040, in place of the chip's own, which is not ours to distribute. Laid out as the data sheet
// (section 2.8) describes: vectors, the tables that rom_func_lookup() and rom_data_lookup() search, and the functions.
// What needs the flash chip or the USB boot loader is a breakpoint that the emulator acts on (board.mjs).

#define TRAP_BOOTSEL    0xe0
#define TRAP_ERASE      0xe1
#define TRAP_PROGRAM    0xe2
#define TRAP_MISSING    0xfe

#define BOOT2_COPY      0x20041f00  // top of SRAM5: where the second stage is copied to and run
#define BOOT2_BYTES     252         // followed by their CRC-32
#define FLASH           0x10000000
#define SIO_CPUID       0xd0000000

    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .section .vectors, "a"
    .word   BOOT2_COPY              // initial stack pointer, below the second stage
    .word   reset + 1
    .word   fault + 1               // NMI
    .word   fault + 1               // HardFault
    .byte   'M', 'u', 1             // 0x10: magic
    .byte   3                       // 0x13: version, that of chip revision B2
    .hword  function_table          // 0x14
    .hword  data_table              // 0x16
    .hword  table_lookup + 1        // 0x18
    .hword  0

    .macro  entry first, second, address
    .byte   \first, \second
    .hword  \address
    .endm

    .section .rodata.tables, "a"
    .balign 4
function_table:
    entry   'P', '3', popcount32 + 1
    entry   'R', '3', reverse32 + 1
    entry   'L', '3', clz32 + 1
    entry   'T', '3', ctz32 + 1
    entry   'M', 'S', rom_memset + 1
    entry   'S', '4', rom_memset + 1
    entry   'M', 'C', rom_memcpy + 1
    entry   'C', '4', rom_memcpy + 1
    entry   'U', 'B', reset_to_usb_boot + 1
    entry   'D', 'T', nothing + 1           // debug trampoline
    entry   'I', 'F', nothing + 1           // connect_internal_flash
    entry   'E', 'X', nothing + 1           // flash_exit_xip
    entry   'R', 'E', flash_range_erase + 1
    entry   'R', 'P', flash_range_program + 1
    entry   'F', 'C', nothing + 1           // flash_flush_cache
    entry   'C', 'X', nothing + 1           // flash_enter_cmd_xip
    .hword  0
    .balign 4
data_table:
    entry   'C', 'R', copyright
    entry   'G', 'R', git_revision
    entry   'S', 'F', float_table
    entry   'S', 'D', double_table
    entry   'F', 'S', float_code_start
    entry   'F', 'E', float_code_end
    .hword  0
    .balign 4
git_revision:
    .word   0
copyright:
    .asciz  "boot ROM of the emulated RP2040"

// The tables' order is fixed by the SDK (pico/bootrom/sf_table.h); trigonometry, powers and fixed point are not provided.
    .macro  missing count
    .rept   \count
    .word   no_such_function + 1
    .endr
    .endm
    .balign 4
    .word   0x00200000              // the byte before the table's last one: 0x20 words
float_table:
    .word   float_add + 1, float_subtract + 1, float_multiply + 1, float_divide + 1
    missing 2
    .word   float_sqrt + 1, float_to_int + 1
    missing 1
    .word   float_to_uint + 1
    missing 1
    .word   float_from_int + 1
    missing 1
    .word   float_from_uint + 1
    missing 9
    .word   float_from_int64 + 1
    missing 1
    .word   float_from_uint64 + 1
    missing 1
    .word   float_to_int64 + 1
    missing 1
    .word   float_to_uint64 + 1
    missing 1
    .word   float_to_double + 1
double_table:
    .word   double_add + 1, double_subtract + 1, double_multiply + 1, double_divide + 1
    missing 2
    .word   double_sqrt + 1, double_to_int + 1
    missing 1
    .word   double_to_uint + 1
    missing 1
    .word   double_from_int + 1
    missing 1
    .word   double_from_uint + 1
    missing 9
    .word   double_from_int64 + 1
    missing 1
    .word   double_from_uint64 + 1
    missing 1
    .word   double_to_int64 + 1
    missing 1
    .word   double_to_uint64 + 1
    missing 1
    .word   double_to_float + 1
float_code_start:
    .word   0
float_code_end:
    .word   0

    .text
    .macro  function name
    .balign 4
    .global \name
    .type   \name, %function
    .thumb_func
\name:
    .endm

// ---- start ---------------------------------------------------------------------------------------

// Runs the second stage with lr = 0, as the chip does, if its checksum is right; else waits for a UF2 file.
function reset
    ldr     r0, =SIO_CPUID
    ldr     r0, [r0]
    cmp     r0, #0
    bne     core1
    ldr     r0, =BOOT2_COPY
    ldr     r1, =FLASH
    movs    r2, #255
    adds    r2, #1
    bl      rom_memcpy
    ldr     r0, =BOOT2_COPY
    movs    r1, #BOOT2_BYTES
    bl      crc32
    ldr     r1, =BOOT2_COPY + BOOT2_BYTES
    ldr     r1, [r1]
    cmp     r0, r1
    bne     reset_to_usb_boot
    movs    r1, #0
    mov     lr, r1
    ldr     r0, =BOOT2_COPY + 1
    bx      r0
core1:
    wfe
    b       core1

function fault
    b       fault

// uint32_t crc32(const uint8_t *data, uint32_t length): polynomial 04c11db7, most significant bit first
function crc32
    push    {r4, lr}
    ldr     r4, =0x04c11db7
    movs    r2, #0
    mvns    r2, r2
1:  ldrb    r3, [r0]
    adds    r0, #1
    lsls    r3, r3, #24
    eors    r2, r3
    movs    r3, #8
2:  lsls    r2, r2, #1
    bcc     3f
    eors    r2, r4
3:  subs    r3, #1
    bne     2b
    subs    r1, #1
    bne     1b
    movs    r0, r2
    pop     {r4, pc}

// ---- what the emulator does -------------------------------------------------------------------------

function reset_to_usb_boot          // (activity pin mask, disabled interfaces)
    bkpt    #TRAP_BOOTSEL
    b       reset_to_usb_boot
function flash_range_erase          // (offset, count, block size, block command)
    bkpt    #TRAP_ERASE
    bx      lr
function flash_range_program        // (offset, data, count)
    bkpt    #TRAP_PROGRAM
    bx      lr
function no_such_function
    bkpt    #TRAP_MISSING
    b       no_such_function
function nothing
    bx      lr

// ---- table lookup: void *table_lookup(uint16_t *table, uint32_t code) ----------------------------------

function table_lookup
    uxth    r1, r1
1:  ldrh    r2, [r0]
    ldrh    r3, [r0, #2]
    adds    r0, #4
    cmp     r2, #0
    beq     2f
    cmp     r2, r1
    bne     1b
    movs    r0, r3
    bx      lr
2:  movs    r0, #0
    bx      lr

// ---- bits: these change r0 to r3 only -----------------------------------------------------------------

    .macro  halve shift             // if the upper part is not 0, look only there
    lsrs    r2, r0, #\shift
    beq     1f
    subs    r1, #\shift
    movs    r0, r2
1:
    .endm

function clz32
    movs    r1, #32
    halve   16
    halve   8
    halve   4
    halve   2
    halve   1
    subs    r0, r1, r0              // what is left is 0 or 1
    bx      lr

function ctz32
    negs    r1, r0
    ands    r0, r1                  // the lowest set bit
    beq     1f
    push    {lr}
    bl      clz32
    movs    r1, #31
    subs    r0, r1, r0
    pop     {pc}
1:  movs    r0, #32
    bx      lr

function popcount32
    ldr     r3, =0x55555555
    lsrs    r1, r0, #1
    ands    r1, r3
    subs    r0, r1
    ldr     r3, =0x33333333
    lsrs    r1, r0, #2
    ands    r0, r3
    ands    r1, r3
    adds    r0, r1
    lsrs    r1, r0, #4
    adds    r0, r1
    ldr     r3, =0x0f0f0f0f
    ands    r0, r3
    ldr     r3, =0x01010101
    muls    r0, r3
    lsrs    r0, #24
    bx      lr

    .macro  swap_bits mask, shift
    ldr     r3, =\mask
    lsrs    r1, r0, #\shift
    ands    r1, r3
    ands    r0, r3
    lsls    r0, #\shift
    orrs    r0, r1
    .endm

function reverse32
    swap_bits 0x55555555, 1
    swap_bits 0x33333333, 2
    swap_bits 0x0f0f0f0f, 4
    rev     r0, r0
    bx      lr

// ---- memory: rom_memset(destination, byte, count), rom_memcpy(destination, source, count) return the destination ----

function rom_memset
    push    {r0, r4, lr}
    uxtb    r1, r1
    lsls    r3, r1, #8
    orrs    r1, r3
    lsls    r3, r1, #16
    orrs    r1, r3
1:  cmp     r2, #0                  // bytes up to a word boundary
    beq     9f
    lsls    r3, r0, #30
    beq     2f
    strb    r1, [r0]
    adds    r0, #1
    subs    r2, #1
    b       1b
2:  movs    r3, r1
    movs    r4, r1
    subs    r2, #16
    blo     4f
3:  stmia   r0!, {r1, r3}
    stmia   r0!, {r1, r4}
    subs    r2, #16
    bhs     3b
4:  adds    r2, #16
5:  subs    r2, #4
    blo     6f
    stmia   r0!, {r1}
    b       5b
6:  adds    r2, #4
7:  subs    r2, #1
    blo     9f
    strb    r1, [r0]
    adds    r0, #1
    b       7b
9:  pop     {r0, r4, pc}

function rom_memcpy
    push    {r0, r4-r7, lr}
    movs    r3, r0
    eors    r3, r1
    lsls    r3, r3, #30
    bne     7f                      // never both on a word boundary
1:  cmp     r2, #0
    beq     9f
    lsls    r3, r0, #30
    beq     2f
    ldrb    r3, [r1]
    strb    r3, [r0]
    adds    r0, #1
    adds    r1, #1
    subs    r2, #1
    b       1b
2:  subs    r2, #16
    blo     4f
3:  ldmia   r1!, {r4-r7}
    stmia   r0!, {r4-r7}
    subs    r2, #16
    bhs     3b
4:  adds    r2, #16
5:  subs    r2, #4
    blo     6f
    ldmia   r1!, {r4}
    stmia   r0!, {r4}
    b       5b
6:  adds    r2, #4
7:  subs    r2, #1
    blo     9f
    ldrb    r3, [r1]
    strb    r3, [r0]
    adds    r0, #1
    adds    r1, #1
    b       7b
9:  pop     {r0, r4-r7, pc}
    .ltorg
