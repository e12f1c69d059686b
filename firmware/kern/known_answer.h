// Known-answer tests of a pack's kernels: the last part of docs/board-image.md.
#ifndef KERN_KNOWN_ANSWER_H
#define KERN_KNOWN_ANSWER_H

#include "engine.h"

#define KNOWN_ANSWER_NO_ROOM (-128) // the arena is too full for the test

// Run kernel `index` of `pack` on its test's inputs, under the limits of any other call. KERN_OK, KNOWN_ANSWER_NO_ROOM,
// KERN_HEALTH_CHECK_FAILED for another answer, or the error that the call ended with.
int known_answer_test(const struct gate_pack *pack, uint32_t index) __attribute__((warn_unused_result));

#endif
