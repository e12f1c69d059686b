#include "faults.h"
#include "frames_params.h"
#include "kernel_stateless.h"

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) \
    X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32) X(33) X(34) X(35) X(36) X(37) X(38) X(39)

// Forty values that are needed after the call, so that each call has a large frame on the native stack. The float operators below are
// calls of the runtime from the deepest frame that there is room for.
static __attribute__((noinline)) float deeper(uint32_t depth, const volatile int32_t *x) {
#define LOAD(i) float v##i = (float)x[i & 3] * 1.5f;
    EACH(LOAD)
    float sum = depth ? deeper(depth - 1, x) : 0.0f;
#define ADD(i) sum = sum / 2.0f + v##i;
    EACH(ADD)
    return sum;
}

// Recurses `arg` deep.
KERNEL_EXPORT(frames)(uint32_t descriptor) {
    KERNEL_REQUIRE_INIT();
    struct fault_call call = fault_call(descriptor);
    int32_t code = fault_copy(call);
    if (call.arg) {
        call.y[0] = (int32_t)deeper((uint32_t)call.arg, call.x);
    }
    return code;
}
