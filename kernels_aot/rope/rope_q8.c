// Rotary position embedding of Q8_0 rows: rope.h. A row is unpacked to f32, turned, and packed anew.

#include "kernel_abi.h"
#include "rope_q8_params.h"
#include "kernel_stateless.h"

typedef struct rope_q8_params rope_params;
#define ROPE_ALIGN 2
#include "kernel_rows.h"
#include "rope.h"

static uint32_t rope_row_size(uint32_t dim) {
    return dim % BLOCK == 0 ? q8_row_size(dim) : 0;
}

static void rope_turn(const struct rope *rope, uint8_t *y, const uint8_t *x, const struct cos_sin *row) {
    q8_load_row(rope->floats, (const struct q8_block *)x, rope->params->dim);
    rope_turn_floats(rope, rope->floats, rope->floats, row);
    q8_store_row((struct q8_block *)y, rope->floats, rope->params->dim);
}

KERNEL_EXPORT(rope_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return rope_run(kernel_descriptor_at(descriptor), false);
}
