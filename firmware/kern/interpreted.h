// Modules of bytecode, run by WAMR's interpreter, which only a debug build has.
#ifndef KERN_INTERPRETED_H
#define KERN_INTERPRETED_H

#include "instance.h"
#include "wasm.h"

#define INTERPRETED_PATIENCE (32) // how many times longer than AOT code's the limits are

// A copy of the kernel's module for WAMR, which changes bytecode that it loads; the instance has it. NULL when the pool is full.
uint8_t *interpreted_copy(struct instance *instance, const struct image_kernel *kernel);

const WASMFuncType *interpreted_type(wasm_function_inst_t function);

// Give the instance, whose three functions these are, entry points for guard_run and an operand stack.
void interpreted_prepare(struct instance *instance, wasm_function_inst_t entry, wasm_function_inst_t init, wasm_function_inst_t cleanup);

#endif
