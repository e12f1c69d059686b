// A call of a kernel, made ready from Python arguments.
#ifndef KERN_CALL_H
#define KERN_CALL_H

#include "descriptor.h"
#include "modkern.h"

// What a caller gave: values by position, and pairs of name and value.
struct call_args {
    size_t n_args, n_kw;
    const mp_obj_t *args, *kw;
};

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
    mp_obj_t out;                                 // the result, once it has its place
    uint32_t symbols[IMAGE_MAX_SYMBOLS];          // 0: not known yet
    uint32_t params[DESCRIPTOR_MAX_PARAMS];
    uint32_t regions[IMAGE_REGIONS], sizes[IMAGE_REGIONS];
    kern_tensor_obj_t *kept[IMAGE_REGIONS]; // tensor that holds each region
    bool temporary[IMAGE_REGIONS];          // made for this call only
};

// ---- call.c ----

// What an argument is, called `name` in messages. Raises TypeError for one that is no data.
void call_describe(mp_obj_t o, const char *name, struct argument *argument);

void call_read_tensors(const struct image_kernel *kernel, struct image_tensor tensors[IMAGE_MAX_TENSORS]);

// What is given for each tensor; `given` is all MP_OBJ_NULL before. By position come the in-out outputs that are not given by name,
// then the inputs. Returns how many tensors the kernel takes by position.
uint32_t call_sort(const struct image_kernel *kernel, const struct image_tensor *tensors, const struct call_args *args, mp_obj_t *given);

// Check arguments against the kernel's shapes and dtypes, and place them in the arena. Raises TypeError, ValueError and
// MemoryError.
void call_prepare(struct call *call, const struct gate_pack *pack, uint32_t index, const struct call_args *args);

// That the kernel may use memory up to `end`. Raises MemoryError.
void call_check_memory(const struct image_kernel *kernel, uint32_t end);

// Free what was made for this call only.
void call_release(struct call *call);

// Inputs and output have no byte in common and nothing is updated in place: after a fault the call can be made again.
bool call_repeatable(const struct call *call);

// An input of the table, alternatives not counted.
static inline bool call_is_input(const struct image_tensor *tensor) {
    return tensor->region <= IMAGE_INPUT_B && !(tensor->flags & IMAGE_ALTERNATIVE);
}

static inline bool call_is_output(const struct image_tensor *tensor) {
    return tensor->region == IMAGE_OUTPUT && !(tensor->flags & IMAGE_ALTERNATIVE);
}

static inline bool call_is_inout(const struct image_tensor *tensor) {
    return call_is_output(tensor) && (tensor->flags & IMAGE_INOUT);
}

static inline bool call_must_be_given(const struct image_tensor *tensor) {
    return (call_is_input(tensor) && !(tensor->flags & IMAGE_OPTIONAL)) || call_is_inout(tensor);
}

static inline uint32_t call_param_count(const struct call *call) {
    return call->kernel.symbol_count + call->kernel.param_count;
}

// ---- call_choose.c ----

// Index of the kernel of that op that the arguments are for. A str as the last of them names a dtype, and is taken away. Raises
// NoSuchKernel, ValueError for an unknown dtype, and TypeError unless one kernel fits.
uint32_t call_choose(const struct gate_pack *pack, const char *op, struct call_args *args);

// ---- call_shapes.c ----

// Give every symbol its value, from the inputs that are always there. Raises ValueError.
void call_solve(struct call *call);

// Index of the tensor, `index` or an alternative behind it, whose shape the argument has. Raises ValueError.
uint32_t call_match(const struct call *call, uint32_t index, const struct argument *argument);

// That a row of a block format is whole blocks. Raises ValueError.
void call_check_blocks(const struct call *call, const struct image_tensor *tensor);

// Dims of a tensor. Raises ValueError for one that does not come out whole.
void call_dims(const struct call *call, const struct image_tensor *tensor, uint32_t dims[IMAGE_MAX_RANK]);

// Shape of an output: its leading dims are those of the input whose product they are. Returns its rank.
uint32_t call_output_dims(const struct call *call, const struct image_tensor *output, uint32_t dims[KERN_MAX_RANK]);

#endif
