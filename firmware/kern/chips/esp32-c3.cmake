include(${KERN_DIR}/chips/esp32.cmake)
set(KERN_NATIVE_FLAGS -march=rv32imc -mabi=ilp32) # no atomic instructions, and ESP-IDF's own library
