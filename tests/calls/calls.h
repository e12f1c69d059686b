// Kernels that show how a call's arguments find their kernel and their places; what they compute is the least of it.
#ifndef CALLS_H
#define CALLS_H

#include "kernel_abi.h"

// Fills the output with the bytes of input A, from the start and again where they do not last.
static inline int32_t calls_repeat(uint32_t descriptor) {
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    const uint8_t *x = kernel_pointer(call->input_a.offset);
    uint8_t *y = kernel_pointer(call->output.offset);
    for (uint32_t i = 0; i < call->output.size; i++) {
        y[i] = x[i % call->input_a.size];
    }
    return KERNEL_OK;
}

// y += x, of words.
static inline int32_t calls_add(uint32_t descriptor) {
    const struct kernel_descriptor *call = kernel_descriptor_at(descriptor);
    const uint32_t *x = kernel_pointer(call->input_a.offset);
    uint32_t *y = kernel_pointer(call->output.offset);
    for (uint32_t i = 0; i < call->output.size / 4; i++) {
        y[i] += x[i];
    }
    return KERNEL_OK;
}

#endif
