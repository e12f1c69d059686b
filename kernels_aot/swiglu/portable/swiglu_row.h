// silu(gate) * up over a row, element by element; simd128/swiglu_row.h does the same four at a time.

#ifndef SWIGLU_ROW_H
#define SWIGLU_ROW_H

#include "kernel_abi.h"
#include "silu.h"

// y may be gate.
KERNEL_LOOP void swiglu_row(float *y, const float *gate, const float *up, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        y[i] = silu(gate[i]) * up[i];
    }
}

#endif
