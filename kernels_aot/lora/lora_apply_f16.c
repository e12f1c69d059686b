// Low-rank adaptation, f16: lora.h.

#include "kernel_abi.h"
#include "kernel_f16.h"
#include "lora_apply_f16_params.h"
#include "kernel_stateless.h"

typedef struct lora_apply_f16_params lora_params;
typedef uint16_t element;

static inline float element_load(const element *stored) {
    return float_from_f16(*stored);
}

static inline void element_store(element *stored, float value) {
    *stored = f16_from_float(value);
}

#include "lora.h"

KERNEL_EXPORT(lora_apply_forward)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    return lora_run(kernel_descriptor_at(descriptor));
}
