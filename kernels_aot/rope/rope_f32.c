// Rotary position embedding, f32, and its gradient: rope.h.

#include "kernel_abi.h"
#include "rope_f32_params.h"
#include "kernel_stateless.h"

typedef struct rope_f32_params rope_params;
#define ROPE_ALIGN 4
#include "rope.h"

static uint32_t rope_row_size(uint32_t dim) {
    return kernel_product(dim, 4);
}

static void rope_turn(const struct rope *rope, uint8_t *y, const uint8_t *x, const struct cos_sin *row) {
    rope_turn_floats(rope, (float *)y, (const float *)x, row);
}

KERNEL_EXPORT(rope_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return rope_run(kernel_descriptor_at(descriptor), false);
}

// A rotation's gradient is the rotation the other way: input A is dy, the output is dx.
KERNEL_BACKWARD(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return rope_run(kernel_descriptor_at(descriptor), true);
}
