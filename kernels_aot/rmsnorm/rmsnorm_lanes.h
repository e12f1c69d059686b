// The fixed order in which every flavour adds up a row: element j goes to partial sum j mod 8, in order. The eight are
// then added as two vectors of four would be: ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)).

#ifndef RMSNORM_LANES_H
#define RMSNORM_LANES_H

#include <stdint.h>

#define REDUCE_LANES 8

static inline float reduce_lanes(const float sum[REDUCE_LANES]) {
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

// Adds squares of the first `count` lanes, at most all.
static inline void add_squares(float sum[REDUCE_LANES], const float *x, uint32_t count) {
    for (uint32_t lane = 0; lane < count; lane++) {
        sum[lane] += x[lane] * x[lane];
    }
}

#endif
