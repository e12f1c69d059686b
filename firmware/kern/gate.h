// The way into the board: nothing becomes a `struct gate_pack` but an image whose signature, fields, compatibility and
// hashes all hold, in the order of docs/board-image.md. The engine runs nothing else.
// No allocation, no I/O; knows neither WAMR nor MicroPython. Needs 2.5 KB of stack (Ed25519).
#ifndef KERN_GATE_H
#define KERN_GATE_H

#include "image.h"
#include "keyset.h"

// What this board accepts.
struct gate_policy {
    const struct trusted *trusted;
    const char *target;
    uint32_t kernel_abi;
    uint32_t aot_version;
    bool interpreter;         // images of bytecode are taken too
    uint32_t runtime_version; // major << 16 | minor << 8 | patch
    uint32_t features;        // bits as in the header
    uint32_t counter_floor;   // lowest security counter accepted
    uint32_t max_image_size;  // bytes of a slot
    uint32_t max_private_size;// bytes of a kernel's private page
};

// What a refused image needed, for people. Texts live as long as the image and the policy.
struct gate_report {
    const char *field;                      // what is wrong, or the kernel concerned
    const char *text_required, *text_actual;// texts, or NULL
    uint32_t required, actual;              // numbers where there are no texts
};

// A verified image. Made by gate_verify only; all zero is none.
struct gate_pack {
    struct image image;
    bool verified;
};

// Check `length` bytes. KERN_OK fills `pack`; any other result is the refusal's error code, leaves `pack` all zero and fills
// `report`. The bytes must not change while the pack is in use.
int gate_verify(const uint8_t *bytes, uint32_t length, const struct gate_policy *policy, struct gate_pack *pack,
    struct gate_report *report) __attribute__((warn_unused_result));

#endif
