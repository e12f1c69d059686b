// The functions and records of wasi_ephemeral_nn, as a guest in C sees them; host/wasi_nn/abi.py says where they are from.
#ifndef WASI_NN_H
#define WASI_NN_H

#include <stdint.h>

#define NN_IMPORT(name) __attribute__((import_module("wasi_ephemeral_nn"), import_name(name)))

enum { NN_ONNX = 1, NN_GGML = 5 };
enum { NN_CPU = 0 };
enum { NN_F16 = 0, NN_F32 = 1, NN_F64 = 2, NN_U8 = 3, NN_I32 = 4, NN_I64 = 5 };

typedef struct {
    const uint8_t *data;
    uint32_t size;
} nn_builder_t;

typedef struct {
    const uint32_t *dimensions;
    uint32_t rank;
    uint8_t type;
    const uint8_t *data;
    uint32_t size;
} nn_tensor_t;

_Static_assert(sizeof(nn_tensor_t) == 20, "a tensor record has 20 bytes");

uint32_t nn_load(const nn_builder_t *builders, uint32_t count, uint32_t encoding, uint32_t target, uint32_t *graph)
    NN_IMPORT("load");
uint32_t nn_load_by_name(const char *name, uint32_t size, uint32_t *graph) NN_IMPORT("load_by_name");
uint32_t nn_init_execution_context(uint32_t graph, uint32_t *context) NN_IMPORT("init_execution_context");
uint32_t nn_set_input(uint32_t context, uint32_t index, const nn_tensor_t *tensor) NN_IMPORT("set_input");
uint32_t nn_compute(uint32_t context) NN_IMPORT("compute");
uint32_t nn_get_output(uint32_t context, uint32_t index, uint8_t *buffer, uint32_t size, uint32_t *written)
    NN_IMPORT("get_output");

#endif
