// As ESP-IDF's documentation declares it; see tests/esp_idf/README.md.
#pragma once

#include <stddef.h>

#include "esp_err.h"
#include "sdkconfig.h"

#define ESP_CACHE_MSYNC_FLAG_DIR_M2C (1u << 3)
#define ESP_CACHE_MSYNC_FLAG_TYPE_INST (1u << 5)
esp_err_t esp_cache_msync(void *address, size_t size, int flags);
