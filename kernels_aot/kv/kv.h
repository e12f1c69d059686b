// Rows of a key or value cache, [rows, dim], between f32 and blocks of 32: what pack and unpack refuse.
//
// Who includes this defines kv_params (the struct of the params block) and kv_row_size (bytes of a row in blocks).

#ifndef KV_H
#define KV_H

#include "kernel_abi.h"
#include "kernel_rows.h"

// Input A is f32 and the output in blocks to `pack`, the other way round to unpack.
static int32_t kv_check(const struct kernel_descriptor *call, bool pack) {
    const kv_params *params = KERNEL_PARAMS(call, kv_params);
    if (params == NULL || params->dim % BLOCK != 0) {
        return KERNEL_INVALID_PARAMS;
    }
    uint32_t floats = kernel_product(kernel_product(params->rows, params->dim), 4);
    uint32_t blocks = kernel_product(params->rows, kv_row_size(params->dim));
    if (!kernel_region_is(&call->input_a, pack ? floats : blocks, pack ? 4 : 2)) {
        return KERNEL_INVALID_INPUT;
    }
    if (!kernel_region_is(&call->output, pack ? blocks : floats, pack ? 2 : 4) || !kernel_output_is_apart(call, false)) {
        return KERNEL_INVALID_OUTPUT;
    }
    return KERNEL_OK;
}

#endif
