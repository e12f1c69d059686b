// As ESP-IDF's documentation declares it; see tests/esp_idf/README.md.
#pragma once

#include <stdint.h>

int64_t esp_timer_get_time(void);
