// Rotary position embedding, f16: rope.h. Arithmetic is f32, rounded to f16 once.

#include "kernel_abi.h"
#include "rope_f16_params.h"
#include "kernel_stateless.h"

typedef struct rope_f16_params rope_params;
#define ROPE_ALIGN 2
#include "rope.h"
#include "rope_f16_row.h"

static uint32_t rope_row_size(uint32_t dim) {
    return kernel_product(dim, 2);
}

static void rope_turn(const struct rope *rope, uint8_t *y, const uint8_t *x, const struct cos_sin *row) {
    f16_turn(rope, (uint16_t *)y, (const uint16_t *)x, row);
}

KERNEL_EXPORT(rope_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return rope_run(kernel_descriptor_at(descriptor), false);
}
