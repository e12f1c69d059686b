// Flash of a Linux process: a file, mapped where a board's flash is, and its clock. As in a chip, programming only clears bits. The
// file has every operation as soon as it returns, so that ending the process at any moment is a power cut.
#define _GNU_SOURCE // MAP_FIXED_NOREPLACE
#include "flash_unix.h"

#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "flash.h"
#include "kern_board.h"

#define MEMORY ((uint8_t *)KERN_FLASH_ADDRESS)

static int file = -1;
static uint64_t began_us;

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * UINT64_C(1000000) + now.tv_nsec / 1000;
}

void flash_unix_open(const char *path) {
    struct stat facts;
    file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0 || fstat(file, &facts) != 0) {
        err(EXIT_FAILURE, "flash %s", path);
    }
    if (facts.st_size != KERN_FLASH_SIZE) {
        errx(EXIT_FAILURE, "flash %s has %lld bytes, must have %d", path, (long long)facts.st_size, KERN_FLASH_SIZE);
    }
    if (mmap(MEMORY, KERN_FLASH_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0) != MEMORY) {
        err(EXIT_FAILURE, "flash %s cannot be mapped, executable, at %p", path, (void *)MEMORY);
    }
    began_us = now_us();
}

static bool erase(uint32_t offset, uint32_t size) {
    uint8_t blank[KERN_FLASH_SECTOR];
    memset(blank, 0xff, sizeof(blank));
    for (uint32_t end = offset + size; offset < end; offset += sizeof(blank)) {
        if (pwrite(file, blank, sizeof(blank), offset) != sizeof(blank)) {
            return false;
        }
    }
    return true;
}

static bool program(uint32_t offset, const uint8_t *data, uint32_t size) {
    uint8_t page[STORE_PAGE];
    for (uint32_t end = offset + size; offset < end; offset += sizeof(page), data += sizeof(page)) {
        for (size_t i = 0; i < sizeof(page); i++) {
            page[i] = MEMORY[offset + i] & data[i];
        }
        if (pwrite(file, page, sizeof(page), offset) != sizeof(page)) {
            return false;
        }
    }
    return true;
}

const struct store_flash kern_flash = {
    .memory = MEMORY,
    KERN_FLASH_FACTS,
    .erase = erase,
    .program = program,
};

uint64_t kern_uptime_us(void) {
    return now_us() - began_us;
}
