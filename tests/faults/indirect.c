#include "faults.h"
#include "indirect_params.h"
#include "kernel_stateless.h"

static int32_t increment(int32_t value) {
    return value + 1;
}

static int32_t twice(int32_t value) {
    return value * 2;
}

static float half(float value) {
    return value * 0.5f;
}

typedef int32_t (*function)(int32_t);

static const function functions[] = { increment, twice, (function)(void *)half };

// Calls a function through the table: `arg` 2 one of another type, 3 an element that is not there.
KERNEL_EXPORT(indirect)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    int32_t code = fault_copy(call);
    function chosen = call.arg == 3 ? (function)1000 : functions[call.arg & 3];
    call.y[0] = chosen(call.y[0]);
    return code;
}
