// A guest that runs a model from its bytes or by its name, and one that passes any numbers on as they are.
#include "wasi_nn.h"

#define EXPORT(name) __attribute__((export_name(name)))

// What the test puts here, and what it finds here.
static uint8_t arena[12 << 20] __attribute__((aligned(16)));

EXPORT("arena") uint8_t *arena_start(void) {
    return arena;
}

// Runs a graph with one input and one output. Returns the first errno that is not 0.
static uint32_t infer(uint32_t graph, const nn_tensor_t *input, uint8_t *output, uint32_t size, uint32_t *written) {
    uint32_t context;
    uint32_t err = nn_init_execution_context(graph, &context);
    if (err) {
        return err;
    }
    err = nn_set_input(context, 0, input);
    if (err) {
        return err;
    }
    err = nn_compute(context);
    if (err) {
        return err;
    }
    return nn_get_output(context, 0, output, size, written);
}

EXPORT("run")
uint32_t run(const uint8_t *model, uint32_t model_size, uint32_t encoding, const nn_tensor_t *input, uint8_t *output,
             uint32_t size, uint32_t *written) {
    nn_builder_t builder = { model, model_size };
    uint32_t graph;
    uint32_t err = nn_load(&builder, 1, encoding, NN_CPU, &graph);
    return err ? err : infer(graph, input, output, size, written);
}

EXPORT("run_by_name")
uint32_t run_by_name(const char *name, uint32_t name_size, const nn_tensor_t *input, uint8_t *output, uint32_t size,
                     uint32_t *written) {
    uint32_t graph;
    uint32_t err = nn_load_by_name(name, name_size, &graph);
    return err ? err : infer(graph, input, output, size, written);
}

EXPORT("load")
uint32_t load(const nn_builder_t *builders, uint32_t count, uint32_t encoding, uint32_t target, uint32_t *graph) {
    return nn_load(builders, count, encoding, target, graph);
}

EXPORT("load_by_name") uint32_t load_by_name(const char *name, uint32_t size, uint32_t *graph) {
    return nn_load_by_name(name, size, graph);
}

EXPORT("init_execution_context") uint32_t init_execution_context(uint32_t graph, uint32_t *context) {
    return nn_init_execution_context(graph, context);
}

EXPORT("set_input") uint32_t set_input(uint32_t context, uint32_t index, const nn_tensor_t *tensor) {
    return nn_set_input(context, index, tensor);
}

EXPORT("compute") uint32_t compute(uint32_t context) {
    return nn_compute(context);
}

EXPORT("get_output")
uint32_t get_output(uint32_t context, uint32_t index, uint8_t *buffer, uint32_t size, uint32_t *written) {
    return nn_get_output(context, index, buffer, size, written);
}

// Asks for the same thing for ever.
EXPORT("endless") void endless(uint32_t context) {
    for (;;) {
        nn_compute(context);
    }
}

EXPORT("outside") uint32_t outside(void) {
    return *(volatile uint32_t *)0xFFFFFFF0u;
}
