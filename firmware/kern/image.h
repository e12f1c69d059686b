// A board image, version 1: the decoder of docs/board-image.md. Views only: nothing is copied or allocated,
// every size is checked before what it covers is read. Knows neither keys nor hashes (see gate.h).
#ifndef KERN_IMAGE_H
#define KERN_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "kern_errors.h"

#define IMAGE_FORMAT_VERSION (1)
#define IMAGE_HEADER_SIZE (192)
#define IMAGE_SIGNATURE_SIZE (64)
#define IMAGE_MAX_KERNELS (64)
#define IMAGE_MAX_SYMBOLS (8)
#define IMAGE_MAX_TENSORS (8)
#define IMAGE_MAX_PARAMS (8)
#define IMAGE_MAX_RANK (4)
#define IMAGE_CONSTANT (255) // a dim with no symbol
#define IMAGE_MEMORY_PAGE (65536) // bytes
#define IMAGE_BYTECODE_TARGET "wasm32" // of an image whose bodies are wasm modules
#define IMAGE_BYTECODE_AOT_VERSION (0)

enum image_region { IMAGE_INPUT_A, IMAGE_INPUT_B, IMAGE_OUTPUT, IMAGE_SCRATCH, IMAGE_REGIONS };
enum image_flag { IMAGE_OPTIONAL = 1, IMAGE_LEADING = 2, IMAGE_ALTERNATIVE = 4, IMAGE_INOUT = 8 };
enum image_param_type { IMAGE_F32 = 1, IMAGE_I32 = 2, IMAGE_U32 = 3, IMAGE_BOOL = 4 };

// An image whose sizes are known to be consistent. The bytes stay the caller's.
struct image {
    const uint8_t *bytes;
    uint32_t size;
    uint32_t table_size;
    uint32_t kernel_count;
};

// Whether its bodies are wasm modules.
bool image_is_bytecode(const struct image *image);

struct image_header {
    uint32_t kernel_abi, aot_version, security_counter, min_runtime, max_runtime, features;
    const uint8_t *key_id; // 8 bytes
    const char *target, *name, *version;
    const uint8_t *manifest_sha256; // 32 bytes
};

struct image_kernel {
    const uint8_t *record;
    uint32_t record_size, symbol_count, tensor_count, param_count;
    uint32_t max_ticks, private_size, test_seed;
    uint32_t max_pages, max_table_elements;
    const uint8_t *body, *body_sha256, *test_sha256;
    uint32_t body_size;
    const char *id, *op, *entry, *fallback;
};

// Bytes of linear memory that the kernel may use.
static inline uint32_t image_memory_limit(const struct image_kernel *kernel) {
    return kernel->max_pages * IMAGE_MEMORY_PAGE;
}

struct image_dim {
    uint8_t symbol, divisor;
    uint16_t multiplier;
};

struct image_tensor {
    const char *name;
    uint8_t region, dtype, rank, flags;
    struct image_dim dims[IMAGE_MAX_RANK];
};

struct image_param {
    const char *name;
    uint8_t type;
    uint32_t value;
};

// Step 1 of the order of checks: magic, format version and sizes of `length` bytes. KERN_OK or KERN_MALFORMED_PACK.
int image_open(struct image *image, const uint8_t *bytes, uint32_t length) __attribute__((warn_unused_result));

// Step 4: every field of header and table, and all padding. On KERN_MALFORMED_PACK `*field` names what is wrong.
// Everything below may be called on an image only after this has succeeded.
int image_check(const struct image *image, const char **field) __attribute__((warn_unused_result));

// Bytes that the signature covers; the signature follows them.
uint32_t image_signed_size(const struct image *image);

// Precondition: image_open succeeded.
const uint8_t *image_key_id(const struct image *image);

void image_header(const struct image *image, struct image_header *header);
struct image_kernel image_kernel(const struct image *image, uint32_t index);
const char *image_symbol(const struct image_kernel *kernel, uint32_t index, uint32_t *test_value);
struct image_tensor image_tensor(const struct image_kernel *kernel, uint32_t index);
struct image_param image_param(const struct image_kernel *kernel, uint32_t index);

#endif
