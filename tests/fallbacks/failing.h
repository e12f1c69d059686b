// What both kernels do. Who includes this has included kernel_abi.h and the params.
#ifndef FAILING_H
#define FAILING_H

enum { TRAP = 1000, SPIN = 1001 };

static int32_t failing_call(uint32_t descriptor) {
    const struct kernel_descriptor *desc = kernel_descriptor_at(descriptor);
    volatile const float *gate = kernel_pointer(desc->input_a.offset);
    float *y = kernel_pointer(desc->output.offset);
    while (gate[0] == SPIN) {
    }
    if (gate[0] == TRAP) {
        __builtin_trap();
    }
    for (uint32_t i = 0; i < desc->output.size / sizeof(float); i++) {
        y[i] = gate[i];
    }
    return KERNEL_OK;
}

#endif
