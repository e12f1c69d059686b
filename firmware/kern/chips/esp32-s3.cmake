include(${KERN_DIR}/chips/esp32.cmake)
