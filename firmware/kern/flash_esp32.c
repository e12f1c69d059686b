// Flash of the ESP32 family: a partition of its own, mapped once as data, which the gate reads, and as instructions, which run.
// The two lie at different addresses, see code_address.h.
#include "flash_esp32.h"

#include "esp_cache.h"
#include "esp_partition.h"
#include "esp_timer.h"
#include "spi_flash_mmap.h"

#include "code_address.h"
#include "flash.h"
#include "kern_board.h"

#define TYPE ((esp_partition_type_t)0x40)       // the first of the applications' own
#define SUBTYPE ((esp_partition_subtype_t)0x00)
#define SIZE (KERN_FILESYSTEM - KERN_SLOT_A)    // both as host/firmware_files.py writes them to the partition table

_Static_assert(KERN_SLOT_A % SPI_FLASH_MMU_PAGE_SIZE == 0, "a partition is mapped from the start of a page of the MMU");
_Static_assert(KERN_FLASH_SECTOR == SPI_FLASH_SEC_SIZE, "the board's facts are the chip's");

static const esp_partition_t *partition;
uintptr_t kern_code_offset;

// A write goes past the caches. ESP-IDF brings them up to date for the first mapping, as data; the S3 has another cache for
// instructions. The ESP32 has one for both, which is emptied as a whole.
static bool drop_code(uint32_t offset, uint32_t size) {
    #if CONFIG_IDF_TARGET_ESP32
    (void)offset, (void)size;
    return true;
    #else
    void *code = code_address(kern_flash.memory + offset);
    return esp_cache_msync(code, size, ESP_CACHE_MSYNC_FLAG_DIR_M2C | ESP_CACHE_MSYNC_FLAG_TYPE_INST) == ESP_OK;
    #endif
}

static bool erase(uint32_t offset, uint32_t size) {
    return esp_partition_erase_range(partition, offset - KERN_SLOT_A, size) == ESP_OK && drop_code(offset, size);
}

static bool program(uint32_t offset, const uint8_t *data, uint32_t size) {
    return esp_partition_write(partition, offset - KERN_SLOT_A, data, size) == ESP_OK && drop_code(offset, size);
}

// Where the flash is mapped is not known until it is: everyone else sees this as constant.
static struct store_flash facts = {
    KERN_FLASH_FACTS,
    .erase = erase,
    .program = program,
};
extern const struct store_flash kern_flash __attribute__((alias("facts")));

static bool map(esp_partition_mmap_memory_t memory) {
    const void *mapped;
    esp_partition_mmap_handle_t handle; // not needed again: the mapping stays
    return esp_partition_mmap(partition, 0, SIZE, memory, &mapped, &handle) == ESP_OK;
}

// Where the start of the partition is mapped, or 0. On the C3 and the S3 one entry of the MMU serves both buses, and asking for a
// second one would give the first one's address.
static uintptr_t mapped(spi_flash_mmap_memory_t memory) {
    return (uintptr_t)spi_flash_phys2cache(KERN_SLOT_A, memory);
}

bool flash_esp32_map(void) {
    if (partition != NULL) {
        return true;
    }
    const esp_partition_t *found = esp_partition_find_first(TYPE, SUBTYPE, "kern");
    if (found == NULL || found->address != KERN_SLOT_A || found->size != SIZE) {
        return false;
    }
    partition = found;
    bool done = map(ESP_PARTITION_MMAP_DATA) && (mapped(SPI_FLASH_MMAP_INST) != 0 || map(ESP_PARTITION_MMAP_INST));
    uintptr_t data = mapped(SPI_FLASH_MMAP_DATA), code = mapped(SPI_FLASH_MMAP_INST);
    if (!done || data == 0 || code == 0) {
        partition = NULL;
        return false;
    }
    facts.memory = (const uint8_t *)(data - KERN_SLOT_A);
    kern_code_offset = code - data;
    return true;
}

uint64_t kern_uptime_us(void) {
    return (uint64_t)esp_timer_get_time();
}
