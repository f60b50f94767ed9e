/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Network and host byte order. Conversion happens when a header is read or written. */
#ifndef MAPXDP_BYTEORDER_H
#define MAPXDP_BYTEORDER_H

#include <linux/types.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define host16(x) ((__u16)__builtin_bswap16(x))
#define host32(x) ((__u32)__builtin_bswap32(x))
#define net16(x)  ((__be16)__builtin_bswap16(x))
#define net32(x)  ((__be32)__builtin_bswap32(x))
#else
#define host16(x) ((__u16)(x))
#define host32(x) ((__u32)(x))
#define net16(x)  ((__be16)(x))
#define net32(x)  ((__be32)(x))
#endif

#endif
