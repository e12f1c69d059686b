// As ESP-IDF's documentation declares it; see tests/esp_idf/README.md.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "sdkconfig.h"

#define SPI_FLASH_SEC_SIZE 4096
#define SPI_FLASH_MMU_PAGE_SIZE CONFIG_MMU_PAGE_SIZE
typedef enum { SPI_FLASH_MMAP_DATA, SPI_FLASH_MMAP_INST } spi_flash_mmap_memory_t;
const void *spi_flash_phys2cache(size_t offset, spi_flash_mmap_memory_t memory);
