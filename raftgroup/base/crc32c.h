/* CRC-32C (Castagnoli) checksums, by Intel's ISA-L.
 *
 * Owner: nobody. Lifetime: none. Threads: any. */
#ifndef RAFTGROUP_BASE_CRC32C_H
#define RAFTGROUP_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of `size` bytes; chain pieces by passing the previous result as `crc`, starting with 0.
 * fl_crc32c(0, "123456789", 9) == 0xe3069283. */
uint32_t fl_crc32c(uint32_t crc, const void *data, size_t size);

#endif
