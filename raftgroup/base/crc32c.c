/* CRC-32C on top of ISA-L's crc32_iscsi, which neither inverts at start nor at the end. */
#include "raftgroup/base/crc32c.h"

#include <isa-l/crc.h>

/* ISA-L takes an int length: longer inputs are fed in pieces. */
#define PIECE_MAX ((size_t)1 << 30)

uint32_t fl_crc32c(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;

    crc = ~crc;
    while (size != 0) {
        size_t piece = size < PIECE_MAX ? size : PIECE_MAX;

        /* ISA-L's prototype lacks const; it only reads. */
        crc = crc32_iscsi((unsigned char *)(uintptr_t)p, (int)piece, crc);
        p += piece;
        size -= piece;
    }
    return ~crc;
}
