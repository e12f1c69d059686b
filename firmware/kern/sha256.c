// FIPS 180-4. On ARMv6-M the compression function is in crypto/sha256_armv6m.S.
#include "sha256.h"

#include <string.h>

#define BLOCK (64) // bytes
#define ROUNDS (64)
#define LENGTH_SIZE (8)

static const uint32_t round_constants[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void put_big_endian(uint8_t *p, uint32_t value) {
    for (int i = 3; i >= 0; i--, value >>= 8) {
        p[i] = (uint8_t)value;
    }
}

// Take in a block: its bytes as they are in memory.
#ifdef __ARM_ARCH_6M__
void sha256_compress(uint32_t state[8], const uint32_t block[16], const uint32_t constants[ROUNDS]);
#else
static uint32_t rotate(uint32_t x, uint32_t bits) {
    return x >> bits | x << (32 - bits);
}

// Rotations by a, b and c, those by less first: each is of what the ones after it have in common.
static uint32_t big_sigma(uint32_t x, uint32_t a, uint32_t b, uint32_t c) {
    return rotate(rotate(rotate(x, c - b) ^ x, b - a) ^ x, a);
}

static uint32_t small_sigma(uint32_t x, uint32_t a, uint32_t b, uint32_t shift) {
    return rotate(rotate(x, b - a) ^ x, a) ^ x >> shift;
}

static uint32_t get_big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// The eight variables of a round do not move from one to the next: they are a window that slides down over an array.
static void sha256_compress(uint32_t state[8], const uint32_t block[16], const uint32_t constants[ROUNDS]) {
    uint32_t words[ROUNDS], variables[ROUNDS + 8], *v = variables + ROUNDS;
    for (int i = 0; i < 16; i++) {
        words[i] = get_big_endian((const uint8_t *)(block + i));
    }
    for (uint32_t *w = words; w < words + ROUNDS - 16; w++) {
        w[16] = w[0] + small_sigma(w[1], 7, 18, 3) + w[9] + small_sigma(w[14], 17, 19, 10);
    }
    memcpy(v, state, 8 * sizeof(*v));
    for (int i = 0; i < ROUNDS; i++) {
        v--; // v[1] to v[8] are a to h, v[0] to v[7] will be
        uint32_t sum = v[8] + big_sigma(v[5], 6, 11, 25) + (((v[6] ^ v[7]) & v[5]) ^ v[7]) + constants[i] + words[i];
        v[4] += sum;
        v[0] = sum + big_sigma(v[1], 2, 13, 22) + ((v[1] & v[2]) | ((v[1] | v[2]) & v[3]));
    }
    for (int i = 0; i < 8; i++) {
        state[i] += v[i];
    }
}
#endif

static void compress(uint32_t state[8], const uint8_t *bytes) {
    uint32_t block[BLOCK / 4]; // aligned
    memcpy(block, bytes, BLOCK);
    sha256_compress(state, block, round_constants);
}

void sha256(const uint8_t *bytes, uint32_t size, uint8_t digest[SHA256_SIZE]) {
    uint32_t state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    uint8_t last[2 * BLOCK] = { 0 };
    uint32_t rest = size % BLOCK, padded = rest < BLOCK - LENGTH_SIZE ? BLOCK : 2 * BLOCK;
    for (uint32_t at = 0; at < size - rest; at += BLOCK) {
        compress(state, bytes + at);
    }
    memcpy(last, bytes + size - rest, rest);
    last[rest] = 0x80;
    put_big_endian(last + padded - 8, size >> 29);
    put_big_endian(last + padded - 4, size << 3);
    for (uint32_t at = 0; at < padded; at += BLOCK) {
        compress(state, last + at);
    }
    for (int i = 0; i < 8; i++) {
        put_big_endian(digest + 4 * i, state[i]);
    }
}
