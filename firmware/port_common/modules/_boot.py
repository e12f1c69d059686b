import board
import vfs

# Mount the filesystem; make one where there is none. Programming is by pages of 256 bytes.
bdev = board.Flash()
try:
    fs = vfs.VfsLfs2(bdev, progsize=256)
except OSError:
    vfs.VfsLfs2.mkfs(bdev, progsize=256)
    fs = vfs.VfsLfs2(bdev, progsize=256)
vfs.mount(fs, "/")

del vfs, board, bdev, fs
