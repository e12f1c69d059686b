// The board's float operators on the PC: reads records of three words from stdin (operator, a, b) and writes
// the two words of each result. What the board has in assembly (firmware/softfloat) is the PC's here.
#include <stdio.h>
#include <string.h>

#include "floats.h"

sf_float sf_from_u32(uint32_t a) {
    float f = (float)a;
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

enum { ABS, CEIL, FLOOR, TRUNC, NEAREST, MIN, MAX, FROM_I64, FROM_U64, TO_I64, TO_U64 };

static uint64_t apply(const uint32_t word[3]) {
    f32 a = word[1], b = word[2];
    uint64_t wide = (uint64_t)word[2] << 32 | word[1];
    switch (word[0]) {
        case ABS: return f32_abs(a);
        case CEIL: return f32_ceil(a);
        case FLOOR: return f32_floor(a);
        case TRUNC: return f32_trunc(a);
        case NEAREST: return f32_nearest(a);
        case MIN: return f32_min(a, b);
        case MAX: return f32_max(a, b);
        case FROM_I64: return f32_from_i64((int64_t)wide);
        case FROM_U64: return f32_from_u64(wide);
        case TO_I64: return (uint64_t)f32_to_i64(a);
        default: return f32_to_u64(a);
    }
}

int main(void) {
    uint32_t word[3];
    while (fread(word, sizeof(word), 1, stdin) == 1) {
        uint64_t result = apply(word);
        fwrite(&result, sizeof(result), 1, stdout);
    }
    return 0;
}
