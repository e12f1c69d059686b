// board.Flash(): the filesystem's part of the flash as a block device, as rp2.Flash() is. Blocks are sectors.
#include <string.h>

#include "extmod/vfs.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"

#include "flash.h"
#include "kern_board.h"

extern const mp_obj_type_t flash_type;
static const mp_obj_base_t flash = { &flash_type };

static mp_obj_t make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    (void)type, (void)args;
    mp_arg_check_num(n_args, n_kw, 0, 0, false);
    return MP_OBJ_FROM_PTR(&flash);
}

// Offset in flash of `size` bytes that the arguments (self, block, buffer[, offset]) mean. Raises OSError beyond the filesystem.
static uint32_t place(size_t n_args, const mp_obj_t *args, size_t size) {
    mp_int_t block = mp_obj_get_int(args[1]), offset = n_args == 4 ? mp_obj_get_int(args[3]) : 0;
    if (block < 0 || block >= KERN_FILESYSTEM_SIZE / KERN_FLASH_SECTOR || offset < 0 || offset > KERN_FILESYSTEM_SIZE) {
        mp_raise_OSError(MP_EINVAL);
    }
    uint32_t start = block * KERN_FLASH_SECTOR + offset;
    if (start > KERN_FILESYSTEM_SIZE || size > KERN_FILESYSTEM_SIZE - start) {
        mp_raise_OSError(MP_EINVAL);
    }
    return KERN_FILESYSTEM + start;
}

static void erase(uint32_t start, size_t size) {
    for (size_t at = 0; at < size; at += KERN_FLASH_SECTOR) {
        if (!kern_flash.erase(start + at, KERN_FLASH_SECTOR)) {
            mp_raise_OSError(MP_EIO);
        }
        mp_event_handle_nowait();
    }
}

static mp_obj_t readblocks(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t to;
    mp_get_buffer_raise(args[2], &to, MP_BUFFER_WRITE);
    memcpy(to.buf, kern_flash.memory + place(n_args, args, to.len), to.len);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(readblocks_obj, 3, 4, readblocks);

// Whole pages; without an offset, sectors are erased before.
static mp_obj_t writeblocks(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t from;
    mp_get_buffer_raise(args[2], &from, MP_BUFFER_READ);
    uint32_t start = place(n_args, args, from.len);
    if (start % STORE_PAGE != 0 || from.len % STORE_PAGE != 0) {
        mp_raise_OSError(MP_EINVAL);
    }
    if (n_args == 3) {
        erase(start, from.len);
    }
    for (size_t at = 0; at < from.len; at += STORE_PAGE) {
        if (!kern_flash.program(start + at, (const uint8_t *)from.buf + at, STORE_PAGE)) {
            mp_raise_OSError(MP_EIO);
        }
    }
    mp_event_handle_nowait();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(writeblocks_obj, 3, 4, writeblocks);

static mp_obj_t ioctl(mp_obj_t self, mp_obj_t command, mp_obj_t argument) {
    switch (mp_obj_get_int(command)) {
        case MP_BLOCKDEV_IOCTL_INIT:
        case MP_BLOCKDEV_IOCTL_DEINIT:
        case MP_BLOCKDEV_IOCTL_SYNC:
            return MP_OBJ_NEW_SMALL_INT(0);
        case MP_BLOCKDEV_IOCTL_BLOCK_COUNT:
            return MP_OBJ_NEW_SMALL_INT(KERN_FILESYSTEM_SIZE / KERN_FLASH_SECTOR);
        case MP_BLOCKDEV_IOCTL_BLOCK_SIZE:
            return MP_OBJ_NEW_SMALL_INT(KERN_FLASH_SECTOR);
        case MP_BLOCKDEV_IOCTL_BLOCK_ERASE:
            erase(place(2, (const mp_obj_t[]) { self, argument }, KERN_FLASH_SECTOR), KERN_FLASH_SECTOR);
            return MP_OBJ_NEW_SMALL_INT(0);
        default:
            return mp_const_none;
    }
}
static MP_DEFINE_CONST_FUN_OBJ_3(ioctl_obj, ioctl);

static const mp_rom_map_elem_t flash_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_readblocks), MP_ROM_PTR(&readblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_writeblocks), MP_ROM_PTR(&writeblocks_obj) },
    { MP_ROM_QSTR(MP_QSTR_ioctl), MP_ROM_PTR(&ioctl_obj) },
};
static MP_DEFINE_CONST_DICT(flash_locals, flash_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    flash_type,
    MP_QSTR_Flash,
    MP_TYPE_FLAG_NONE,
    make_new, make_new,
    locals_dict, &flash_locals
    );

static const mp_rom_map_elem_t board_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_board) },
    { MP_ROM_QSTR(MP_QSTR_Flash), MP_ROM_PTR(&flash_type) },
};
static MP_DEFINE_CONST_DICT(board_globals, board_globals_table);

const mp_obj_module_t board_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&board_globals,
};
MP_REGISTER_MODULE(MP_QSTR_board, board_module);
