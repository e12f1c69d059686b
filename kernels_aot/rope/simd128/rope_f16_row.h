// The turning of a row of f16, as a row of f32, with the bits of portable/rope_f16_row.h.

#ifndef ROPE_F16_ROW_H
#define ROPE_F16_ROW_H

#include "kernel_rows.h"

static inline void f16_turn(const struct rope *rope, uint16_t *y, const uint16_t *x, const struct cos_sin *row) {
    f16_load_row(rope->floats, x, rope->params->dim);
    rope_turn_floats(rope, rope->floats, rope->floats, row);
    f16_store_row(y, rope->floats, rope->params->dim);
}

#endif
