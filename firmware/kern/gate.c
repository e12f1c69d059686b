// Signature, compatibility and hashes of a board image.
#include "gate.h"

#include <string.h>

#include "ed25519.h"
#include "sha256.h"

static int refuse(struct gate_report *report, int error, const char *field, uint32_t required, uint32_t actual) {
    *report = (struct gate_report) { .field = field, .required = required, .actual = actual };
    return error;
}

static int check_signature(const struct image *image, const struct gate_policy *policy, struct gate_report *report) {
    const uint8_t *key;
    int found = trusted_key(policy->trusted, image_key_id(image), &key);
    if (found != KERN_OK) {
        return refuse(report, found, "key id", 0, 0);
    }
    uint32_t size = image_signed_size(image);
    if (!ed25519_check(image->bytes + size, key, image->bytes, size)) {
        return refuse(report, KERN_BAD_SIGNATURE, "signature", 0, 0);
    }
    return KERN_OK;
}

static int check_sizes(const struct image *image, const struct gate_policy *policy, struct gate_report *report) {
    if (image->size > policy->max_image_size) {
        return refuse(report, KERN_PACK_TOO_LARGE, "image size", policy->max_image_size, image->size);
    }
    for (uint32_t i = 0; i < image->kernel_count; i++) {
        struct image_kernel kernel = image_kernel(image, i);
        if (kernel.private_size > policy->max_private_size) {
            return refuse(report, KERN_PACK_TOO_LARGE, kernel.id, policy->max_private_size, kernel.private_size);
        }
    }
    return KERN_OK;
}

static int check_compatible(const struct image *image, const struct gate_policy *policy, struct gate_report *report) {
    struct image_header header;
    image_header(image, &header);
    bool bytecode = policy->interpreter && image_is_bytecode(image);
    if (strcmp(header.target, policy->target) != 0 && !bytecode) {
        *report = (struct gate_report) { .field = "target", .text_required = policy->target, .text_actual = header.target };
        return KERN_WRONG_TARGET;
    }
    if (header.kernel_abi != policy->kernel_abi) {
        return refuse(report, KERN_KERNEL_ABI_MISMATCH, "kernel ABI", policy->kernel_abi, header.kernel_abi);
    }
    uint32_t aot_version = bytecode ? IMAGE_BYTECODE_AOT_VERSION : policy->aot_version;
    if (header.aot_version != aot_version) {
        return refuse(report, KERN_AOT_VERSION_MISMATCH, "AOT version", aot_version, header.aot_version);
    }
    if (policy->runtime_version < header.min_runtime) {
        return refuse(report, KERN_RUNTIME_TOO_OLD, "min runtime", header.min_runtime, policy->runtime_version);
    }
    if (header.max_runtime != 0 && policy->runtime_version > header.max_runtime) {
        return refuse(report, KERN_RUNTIME_TOO_NEW, "max runtime", header.max_runtime, policy->runtime_version);
    }
    if (header.features & ~policy->features) {
        return refuse(report, KERN_MISSING_FEATURE, "features", header.features, policy->features);
    }
    if (header.security_counter < policy->counter_floor) {
        return refuse(report, KERN_DOWNGRADE_REFUSED, "security counter", policy->counter_floor, header.security_counter);
    }
    return check_sizes(image, policy, report);
}

static int check_hashes(const struct image *image, struct gate_report *report) {
    for (uint32_t i = 0; i < image->kernel_count; i++) {
        struct image_kernel kernel = image_kernel(image, i);
        uint8_t digest[SHA256_SIZE];
        sha256(kernel.body, kernel.body_size, digest);
        if (memcmp(digest, kernel.body_sha256, sizeof(digest)) != 0) {
            return refuse(report, KERN_HASH_MISMATCH, kernel.id, 0, 0);
        }
    }
    return KERN_OK;
}

int gate_verify(const uint8_t *bytes, uint32_t length, const struct gate_policy *policy, struct gate_pack *pack,
    struct gate_report *report) {
    struct image image;
    int result = KERN_PACK_ERROR; // success has to be earned
    *pack = (struct gate_pack) { 0 };
    *report = (struct gate_report) { .field = "header" };

    result = image_open(&image, bytes, length);
    if (result == KERN_OK) {
        result = check_signature(&image, policy, report);
    }
    if (result == KERN_OK) {
        result = image_check(&image, &report->field);
    }
    if (result == KERN_OK) {
        result = check_compatible(&image, policy, report);
    }
    if (result == KERN_OK) {
        result = check_hashes(&image, report);
    }
    if (result == KERN_OK) {
        *pack = (struct gate_pack) { .image = image, .verified = true };
    }
    return result;
}
