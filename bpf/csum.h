/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Internet checksum (RFC 1071) and how it changes with the data (RFC 1624).
 *
 * A "sum" is a one's complement sum of words as they lie in memory, kept in 64 bits while it
 * grows. The checksum field of a header holds the complement of its sum.
 */
#ifndef MAPXDP_CSUM_H
#define MAPXDP_CSUM_H

#include <linux/types.h>

#include "headers.h"
#include "inline.h"

INLINE __u32 sum_fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return sum;
}

INLINE __u16 sum_fold16(__u64 sum)
{
	__u32 folded = sum_fold32(sum);

	folded = (folded & 0xffff) + (folded >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	return folded;
}

INLINE __u64 sum_ipv6(const __be32 address[4])
{
	return (__u64)address[0] + address[1] + address[2] + address[3];
}

/* Taking a sum away is adding its complement. */
INLINE __u64 sum_without(__u64 sum)
{
	return (__u32)~sum_fold32(sum);
}

/* The checksum field after a part of the data, summed as `from`, became `to`. */
INLINE __u16 checksum_after(__u16 checksum, __u64 from, __u64 to)
{
	return ~sum_fold16((__u16)~checksum + sum_without(from) + to);
}

/* What the field of a header without options should hold, if it holds 0; 0 where it holds that. */
INLINE __u16 ipv4_header_checksum(const struct ipv4_header *header)
{
	const __u32 *words = (const __u32 *)header;
	__u64 sum = 0;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < sizeof(*header) / sizeof(*words); i++)
		sum += words[i];
	return ~sum_fold16(sum);
}

#endif
