// The products of kernel_fraction.h, of whichever flavour's folder it is built with: reads fractions a and b and a
// factor, seven words, and writes a * b and a * factor mod 1, six.
#include <stdio.h>

#include "kernel_fraction.h"

int main(void) {
    struct { struct fraction a, b; uint32_t factor; } in;
    while (fread(&in, sizeof(in), 1, stdin) == 1) {
        struct fraction out[2] = {fraction_product(in.a, in.b), fraction_scale(in.a, in.factor)};
        fwrite(out, sizeof(out), 1, stdout);
    }
    return 0;
}
