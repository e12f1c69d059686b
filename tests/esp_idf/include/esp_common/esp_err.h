// As ESP-IDF's documentation declares it; see tests/esp_idf/README.md.
#pragma once

typedef int esp_err_t;
#define ESP_OK 0
