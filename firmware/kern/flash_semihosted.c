// Flash as an area of RAM, written through to the file whose path is the first word of QEMU's semihosting command line
// (-semihosting-config arg=PATH). Behind the firmware's part, which QEMU loads from the ELF file.
#include "flash_semihosted.h"

#include <string.h>

#include "flash.h"
#include "kern_board.h"
#include "semihosting.h"

#define MEMORY ((uint8_t *)KERN_FLASH_ADDRESS)
#define FIRST (KERN_FIRMWARE_SIZE)

static uint32_t file;

static _Noreturn void fail(const char *message) {
    semihosting(SEMIHOSTING_WRITE0, message);
    semihosting_exit();
}

static bool seek(uint32_t offset) {
    return semihosting(SEMIHOSTING_SEEK, (const uint32_t[]) { file, offset }) == 0;
}

void flash_semihosted_init(void) {
    static char path[512];
    uint32_t line[] = { (uint32_t)path, sizeof(path) };
    if (semihosting(SEMIHOSTING_GET_CMDLINE, line) != 0 || path[0] == 0) {
        fail("no file for flash: run QEMU with -semihosting-config arg=PATH\n");
    }
    file = semihosting(SEMIHOSTING_OPEN, (const uint32_t[]) { (uint32_t)path, SEMIHOSTING_OPEN_UPDATE, strlen(path) });
    if (file == UINT32_MAX) {
        fail("the file for flash cannot be opened\n");
    }
    if (!seek(FIRST) || semihosting(SEMIHOSTING_READ, (const uint32_t[]) { file, (uint32_t)MEMORY + FIRST, KERN_FLASH_SIZE - FIRST }) != 0) {
        fail("the file for flash is too short\n");
    }
}

void flash_semihosted_close(void) {
    (void)semihosting(SEMIHOSTING_CLOSE, (const uint32_t[]) { file });
}

// Both at once: a process that is killed is a power cut.
static bool write_through(uint32_t offset, uint32_t size) {
    return seek(offset) && semihosting(SEMIHOSTING_WRITE, (const uint32_t[]) { file, (uint32_t)MEMORY + offset, size }) == 0;
}

static bool erase(uint32_t offset, uint32_t size) {
    memset(MEMORY + offset, 0xff, size);
    return write_through(offset, size);
}

// Bits go from 1 to 0 only, as in flash.
static bool program(uint32_t offset, const uint8_t *data, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        MEMORY[offset + i] &= data[i];
    }
    return write_through(offset, size);
}

const struct store_flash kern_flash = {
    .memory = MEMORY,
    KERN_FLASH_FACTS,
    .erase = erase,
    .program = program,
};
