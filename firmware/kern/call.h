// A call of a kernel, made ready from Python arguments.
#ifndef KERN_CALL_H
#define KERN_CALL_H

#include "descriptor.h"
#include "modkern.h"

// What an argument says of itself.
struct argument {
    const struct layout_dtype *dtype; // NULL: whatever the kernel wants
    bool shaped;                      // dims are known; else only nbytes is
    uint32_t rank;
    uint32_t dims[KERN_MAX_RANK];
    uint32_t nbytes;
};

// Everything between the arguments and the descriptor. Lives on the C stack, where the collector finds its objects.
struct call {
    struct image_kernel kernel;
    struct image_tensor tensors[IMAGE_MAX_TENSORS];
    mp_obj_t given[IMAGE_MAX_TENSORS];            // argument for each tensor, or MP_OBJ_NULL
    struct argument arguments[IMAGE_MAX_TENSORS]; // of those given
    mp_obj_t out;                                 // argument out=, or None; then the result
    uint32_t symbols[IMAGE_MAX_SYMBOLS];          // 0: not known yet
    uint32_t params[DESCRIPTOR_MAX_PARAMS];
    uint32_t regions[IMAGE_REGIONS], sizes[IMAGE_REGIONS];
    kern_tensor_obj_t *kept[IMAGE_REGIONS]; // tensor that holds each region
    bool temporary[IMAGE_REGIONS];          // made for this call only
};

// ---- call.c ----

// Index of the kernel of that op whose inputs accept these arguments. Raises NoSuchKernel.
uint32_t call_choose(const struct gate_pack *pack, const char *op, size_t n_args, const mp_obj_t *args);

// Check arguments against the kernel's shapes and dtypes, and place them in the arena. `args` holds n_kw pairs after n_args
// values, as MicroPython passes them. Raises TypeError, ValueError and MemoryError.
void call_prepare(struct call *call, const struct gate_pack *pack, uint32_t index, size_t n_args, size_t n_kw, const mp_obj_t *args);

// Free what was made for this call only.
void call_release(struct call *call);

// Inputs and output have no byte in common and nothing is updated in place: after a fault the call can be made again.
bool call_repeatable(const struct call *call);

// An input of the table, alternatives not counted.
static inline bool call_is_input(const struct image_tensor *tensor) {
    return tensor->region <= IMAGE_INPUT_B && !(tensor->flags & IMAGE_ALTERNATIVE);
}

static inline uint32_t call_param_count(const struct call *call) {
    return call->kernel.symbol_count + call->kernel.param_count;
}

// ---- call_shapes.c ----

// Give every symbol its value, from the inputs that are always there. Raises ValueError.
void call_solve(struct call *call);

// Index of the tensor, `index` or an alternative behind it, whose shape the argument has. Raises ValueError.
uint32_t call_match(const struct call *call, uint32_t index, const struct argument *argument);

// Dims of a tensor. Raises ValueError for one that does not come out whole.
void call_dims(const struct call *call, const struct image_tensor *tensor, uint32_t dims[IMAGE_MAX_RANK]);

// Shape of an output: its leading dims are those of the input whose product they are. Returns its rank.
uint32_t call_output_dims(const struct call *call, const struct image_tensor *output, uint32_t dims[KERN_MAX_RANK]);

#endif
