// Decoder of the board image; docs/board-image.md describes it byte by byte.
#include "image.h"

#include <stddef.h>
#include <string.h>

#include "kern_dtypes.h"
#include "little_endian.h"

#define RECORD_SIZE (184)
#define SYMBOL_SIZE (20)
#define TENSOR_SIZE (36)
#define PARAM_SIZE (24)
#define BODY_ALIGN (16)

static bool all_zero(const uint8_t *p, size_t size) {
    while (size-- > 0) {
        if (*p++ != 0) {
            return false;
        }
    }
    return true;
}

// ASCII, padded with at least one NUL to the field's size.
static bool is_text(const uint8_t *p, size_t size) {
    size_t length = 0;
    while (length < size && p[length] != 0) {
        if (p[length++] > 0x7f) {
            return false;
        }
    }
    return length < size && all_zero(p + length, size - length);
}

static bool is_lower(uint8_t c) {
    return c >= 'a' && c <= 'z';
}

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

// [a-z][a-z0-9_]*
static bool is_name(const uint8_t *p, size_t size) {
    if (!is_text(p, size) || !is_lower(p[0])) {
        return false;
    }
    for (; *p != 0; p++) {
        if (!is_lower(*p) && !is_digit(*p) && *p != '_') {
            return false;
        }
    }
    return true;
}

// [A-Za-z_][A-Za-z0-9_]*
static bool is_identifier(const uint8_t *p, size_t size) {
    if (!is_text(p, size) || p[0] == 0 || is_digit(p[0])) {
        return false;
    }
    for (; *p != 0; p++) {
        if (!is_lower(*p | 0x20) && !is_digit(*p) && *p != '_') {
            return false;
        }
    }
    return true;
}

static uint32_t align_body(uint32_t offset) {
    return (offset + BODY_ALIGN - 1) & ~(uint32_t)(BODY_ALIGN - 1);
}

static uint32_t record_size(const uint8_t *record) {
    return RECORD_SIZE + SYMBOL_SIZE * record[2] + TENSOR_SIZE * record[3] + PARAM_SIZE * record[4];
}

int image_open(struct image *image, const uint8_t *bytes, uint32_t length) {
    *image = (struct image) { 0 };
    if (length < IMAGE_HEADER_SIZE || memcmp(bytes, "KIMG", 4) != 0 || get_u16(bytes + 4) != IMAGE_FORMAT_VERSION
        || get_u16(bytes + 6) != IMAGE_HEADER_SIZE || get_u32(bytes + 8) != length || length % BODY_ALIGN != 0) {
        return KERN_MALFORMED_PACK;
    }
    uint32_t table_size = get_u32(bytes + 12);
    if (table_size % 4 != 0 || table_size > length - IMAGE_HEADER_SIZE
        || length - IMAGE_HEADER_SIZE - table_size < IMAGE_SIGNATURE_SIZE) {
        return KERN_MALFORMED_PACK;
    }
    image->bytes = bytes;
    image->size = length;
    image->table_size = table_size;
    image->kernel_count = get_u16(bytes + 16);
    return KERN_OK;
}

uint32_t image_signed_size(const struct image *image) {
    return IMAGE_HEADER_SIZE + image->table_size;
}

const uint8_t *image_key_id(const struct image *image) {
    return image->bytes + 40;
}

void image_header(const struct image *image, struct image_header *header) {
    const uint8_t *p = image->bytes;
    *header = (struct image_header) {
        .kernel_abi = get_u16(p + 18),
        .aot_version = get_u32(p + 20),
        .security_counter = get_u32(p + 24),
        .min_runtime = get_u32(p + 28),
        .max_runtime = get_u32(p + 32),
        .features = get_u32(p + 36),
        .key_id = p + 40,
        .target = (const char *)p + 48,
        .name = (const char *)p + 72,
        .version = (const char *)p + 104,
        .manifest_sha256 = p + 128,
    };
}

bool image_is_bytecode(const struct image *image) {
    struct image_header header;
    image_header(image, &header);
    return strcmp(header.target, IMAGE_BYTECODE_TARGET) == 0;
}

static struct image_kernel read_kernel(const struct image *image, const uint8_t *record) {
    return (struct image_kernel) {
        .record = record,
        .record_size = get_u16(record),
        .symbol_count = record[2],
        .tensor_count = record[3],
        .param_count = record[4],
        .max_pages = get_u16(record + 6),
        .max_ticks = get_u32(record + 8),
        .max_table_elements = get_u16(record + 12),
        .private_size = get_u32(record + 16),
        .body = image->bytes + get_u32(record + 20),
        .body_size = get_u32(record + 24),
        .test_seed = get_u32(record + 28),
        .body_sha256 = record + 32,
        .test_sha256 = record + 64,
        .id = (const char *)record + 96,
        .op = (const char *)record + 120,
        .entry = (const char *)record + 136,
        .fallback = (const char *)record + 160,
    };
}

struct image_kernel image_kernel(const struct image *image, uint32_t index) {
    const uint8_t *record = image->bytes + IMAGE_HEADER_SIZE;
    while (index-- > 0) {
        record += get_u16(record);
    }
    return read_kernel(image, record);
}

static const uint8_t *symbol_at(const struct image_kernel *kernel, uint32_t index) {
    return kernel->record + RECORD_SIZE + SYMBOL_SIZE * index;
}

static const uint8_t *tensor_at(const struct image_kernel *kernel, uint32_t index) {
    return symbol_at(kernel, kernel->symbol_count) + TENSOR_SIZE * index;
}

static const uint8_t *param_at(const struct image_kernel *kernel, uint32_t index) {
    return tensor_at(kernel, kernel->tensor_count) + PARAM_SIZE * index;
}

const char *image_symbol(const struct image_kernel *kernel, uint32_t index, uint32_t *test_value) {
    const uint8_t *p = symbol_at(kernel, index);
    if (test_value != NULL) {
        *test_value = get_u32(p + 16);
    }
    return (const char *)p;
}

struct image_tensor image_tensor(const struct image_kernel *kernel, uint32_t index) {
    const uint8_t *p = tensor_at(kernel, index);
    struct image_tensor tensor = {
        .name = (const char *)p, .region = p[16], .dtype = p[17], .rank = p[18], .flags = p[19],
    };
    for (uint32_t i = 0; i < IMAGE_MAX_RANK; i++) {
        const uint8_t *dim = p + 20 + 4 * i;
        tensor.dims[i] = (struct image_dim) { .symbol = dim[0], .divisor = dim[1], .multiplier = get_u16(dim + 2) };
    }
    return tensor;
}

struct image_param image_param(const struct image_kernel *kernel, uint32_t index) {
    const uint8_t *p = param_at(kernel, index);
    return (struct image_param) { .name = (const char *)p, .type = p[16], .value = get_u32(p + 20) };
}

static bool symbols_ok(const struct image_kernel *kernel) {
    for (uint32_t i = 0; i < kernel->symbol_count; i++) {
        const uint8_t *p = symbol_at(kernel, i);
        if (!is_name(p, 16) || get_u32(p + 16) == 0) {
            return false;
        }
    }
    return true;
}

static bool dtype_ok(uint8_t dtype) {
    #define KNOWN_DTYPE(name, code, block, size, typecode) case code: return true;
    switch (dtype) {
        KERN_DTYPES(KNOWN_DTYPE)
        default: return false;
    }
    #undef KNOWN_DTYPE
}

static bool dims_ok(const struct image_kernel *kernel, const struct image_tensor *tensor, const uint8_t *p) {
    for (uint32_t i = 0; i < tensor->rank; i++) {
        const struct image_dim *dim = &tensor->dims[i];
        bool constant = dim->symbol == IMAGE_CONSTANT;
        if ((!constant && dim->symbol >= kernel->symbol_count) || dim->divisor < 1 || dim->multiplier < 1
            || (constant && dim->divisor != 1)) {
            return false;
        }
    }
    return all_zero(p + 20 + 4 * tensor->rank, 4 * (IMAGE_MAX_RANK - tensor->rank));
}

static bool tensors_ok(const struct image_kernel *kernel) {
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        const uint8_t *p = tensor_at(kernel, i);
        struct image_tensor tensor = image_tensor(kernel, i);
        if (!is_name(p, 16) || tensor.region >= IMAGE_REGIONS || !dtype_ok(tensor.dtype) || tensor.rank < 1
            || tensor.rank > IMAGE_MAX_RANK || tensor.flags > 15 || !dims_ok(kernel, &tensor, p)
            || ((tensor.flags & IMAGE_INOUT) && tensor.region != IMAGE_OUTPUT)) {
            return false;
        }
        // name, region and dtype: the first 18 bytes; flags: byte 19
        if ((tensor.flags & IMAGE_ALTERNATIVE)
            && (i == 0 || memcmp(p, p - TENSOR_SIZE, 18) != 0 || p[19] != (p[19 - TENSOR_SIZE] | IMAGE_ALTERNATIVE))) {
            return false;
        }
    }
    return true;
}

// Every symbol stands alone as a dim of an input that is always there, so a call's inputs give it a value.
static bool symbols_bound(const struct image_kernel *kernel) {
    uint32_t bound = 0;
    for (uint32_t i = 0; i < kernel->tensor_count; i++) {
        struct image_tensor tensor = image_tensor(kernel, i);
        bool input = tensor.region == IMAGE_INPUT_A || tensor.region == IMAGE_INPUT_B;
        if (!input || (tensor.flags & (IMAGE_OPTIONAL | IMAGE_ALTERNATIVE))) {
            continue;
        }
        for (uint32_t d = 0; d < tensor.rank; d++) {
            const struct image_dim *dim = &tensor.dims[d];
            if (dim->symbol != IMAGE_CONSTANT && dim->divisor == 1 && dim->multiplier == 1) {
                bound |= 1u << dim->symbol;
            }
        }
    }
    return bound == (1u << kernel->symbol_count) - 1;
}

static bool params_ok(const struct image_kernel *kernel) {
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        const uint8_t *p = param_at(kernel, i);
        struct image_param param = image_param(kernel, i);
        if (!is_name(p, 16) || param.type < IMAGE_F32 || param.type > IMAGE_BOOL || !all_zero(p + 17, 3)
            || (param.type == IMAGE_BOOL && param.value > 1)) {
            return false;
        }
    }
    return true;
}

static bool record_ok(const uint8_t *record) {
    return record[2] <= IMAGE_MAX_SYMBOLS && record[3] >= 1 && record[3] <= IMAGE_MAX_TENSORS && record[4] <= IMAGE_MAX_PARAMS
           && record[5] == 0 && get_u16(record) == record_size(record) && get_u16(record + 6) >= 1 && get_u32(record + 8) >= 1
           && get_u16(record + 14) == 0 && get_u32(record + 28) != 0;
}

static bool names_ok(const struct image *image, const uint8_t *record) {
    for (const uint8_t *other = image->bytes + IMAGE_HEADER_SIZE; other < record; other += get_u16(other)) {
        if (memcmp(other + 96, record + 96, 24) == 0) {
            return false;
        }
    }
    return is_name(record + 96, 24) && is_name(record + 120, 16) && is_identifier(record + 136, 24) && is_text(record + 160, 24);
}

// The body starts at `offset`, where the one before it ended; on success that moves behind this body.
static bool body_ok(const struct image *image, const uint8_t *record, uint32_t *offset) {
    uint32_t start = get_u32(record + 20), size = get_u32(record + 24);
    if (start != *offset || size < 1 || size > image->size - start) {
        return false;
    }
    *offset = align_body(start + size);
    return *offset <= image->size && all_zero(image->bytes + start + size, *offset - start - size);
}

static const char *check_kernel(const struct image *image, const uint8_t *record, uint32_t *offset) {
    if (!record_ok(record)) {
        return "kernel record";
    }
    // Before the record is read: it points to the body.
    if (!body_ok(image, record, offset)) {
        return "body";
    }
    struct image_kernel kernel = read_kernel(image, record);
    return !names_ok(image, record) ? "kernel names"
        : !symbols_ok(&kernel) ? "symbols"
        : !tensors_ok(&kernel) ? "tensors"
        : !symbols_bound(&kernel) ? "unbound symbol"
        : !params_ok(&kernel) ? "params"
        : NULL;
}

static const char *check_header(const struct image *image) {
    const uint8_t *p = image->bytes;
    return image->kernel_count < 1 || image->kernel_count > IMAGE_MAX_KERNELS ? "kernel count"
        : get_u32(p + 36) & ~1u ? "required features"
        : !is_text(p + 48, 24) ? "target id"
        : !is_text(p + 72, 32) ? "pack name"
        : !is_text(p + 104, 24) ? "pack version"
        : !all_zero(p + 160, 32) ? "reserved"
        : NULL;
}

int image_check(const struct image *image, const char **field) {
    *field = check_header(image);
    if (*field != NULL) {
        return KERN_MALFORMED_PACK;
    }
    uint32_t bodies = image_signed_size(image) + IMAGE_SIGNATURE_SIZE, offset = align_body(bodies);
    const uint8_t *record = image->bytes + IMAGE_HEADER_SIZE, *end = record + image->table_size;
    *field = "padding";
    if (offset > image->size || !all_zero(image->bytes + bodies, offset - bodies)) {
        return KERN_MALFORMED_PACK;
    }
    for (uint32_t i = 0; i < image->kernel_count; i++) {
        *field = "table size";
        if (end - record < RECORD_SIZE || (size_t)(end - record) < record_size(record)) {
            return KERN_MALFORMED_PACK;
        }
        *field = check_kernel(image, record, &offset);
        if (*field != NULL) {
            return KERN_MALFORMED_PACK;
        }
        record += get_u16(record);
    }
    *field = record != end ? "table size" : offset != image->size ? "image size" : NULL;
    return *field != NULL ? KERN_MALFORMED_PACK : KERN_OK;
}
