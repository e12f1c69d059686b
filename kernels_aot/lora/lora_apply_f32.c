// Low-rank adaptation, f32: lora.h.

#include "kernel_abi.h"
#include "lora_apply_f32_params.h"
#include "kernel_stateless.h"

typedef struct lora_apply_f32_params lora_params;
typedef float element;

static inline float element_load(const element *stored) {
    return *stored;
}

static inline void element_store(element *stored, float value) {
    *stored = value;
}

#include "lora.h"

KERNEL_EXPORT(lora_apply_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return lora_run(kernel_descriptor_at(descriptor));
}
