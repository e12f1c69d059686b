// Kernels that go wrong on purpose, each in its own way, when their parameter `arg` is not 0; with 0 they copy input to output. What they
// do depends on `arg`, so no compiler sees it coming.
#ifndef FAULTS_H
#define FAULTS_H

#include "kernel_abi.h"

// All of them have the symbol n and the parameter arg, before any other.
struct fault_params {
    uint32_t n;
    int32_t arg;
};

struct fault_call {
    const int32_t *x;
    int32_t *y;
    uint32_t n;
    int32_t arg;
};

static inline struct fault_call fault_call(uint32_t descriptor) {
    const struct kernel_descriptor *desc = kernel_descriptor_at(descriptor);
    const struct fault_params *params = kernel_pointer(desc->params.offset);
    return (struct fault_call) { kernel_pointer(desc->input_a.offset), kernel_pointer(desc->output.offset), params->n, params->arg };
}

static inline int32_t fault_copy(struct fault_call call) {
    for (uint32_t i = 0; i < call.n; i++) {
        call.y[i] = call.x[i];
    }
    return KERNEL_OK;
}

#endif
