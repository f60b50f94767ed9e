/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv4-embedded IPv6 addresses (RFC 6052 section 2.2), the encoding of a MAP-T DMR.
 *
 *    PL   0-------------32--40--48--56--64--72--80--88--96--104---------|
 *    32   |     prefix    |v4(32)         | u | suffix                    |
 *    40   |     prefix        |v4(24)     | u |(8)| suffix                |
 *    48   |     prefix            |v4(16) | u | (16)  | suffix            |
 *    56   |     prefix                |(8)| u |  v4(24)   | suffix        |
 *    64   |     prefix                    | u |   v4(32)      | suffix    |
 *    96   |     prefix                                    |    v4(32)     |
 *
 * Octet 8 (u) is zero and skipped. The prefix lengths are checked when they are configured.
 */
#ifndef MAPXDP_RFC6052_H
#define MAPXDP_RFC6052_H

#include "byteorder.h"
#include "inline.h"

/* Lays `ipv4` over words 1 to 3 of an address, after `bits` bits of word 1. Bits that fall on
 * word 2 begin after its first octet, u. */
INLINE void embed_across(__be32 address[4], __u32 ipv4, __u32 bits)
{
	address[1] |= net32(ipv4 >> bits);
	address[2] |= net32(ipv4 << (32 - bits) >> 8);
}

INLINE __u32 extract_across(const __be32 address[4], __u32 bits)
{
	__u32 high = host32(address[1]) << bits;
	__u32 low = host32(address[2]) << 8 >> (32 - bits);

	return high | low;
}

/* The address under `prefix` (its bits past `length` zero) that stands for `ipv4`. */
INLINE void rfc6052_embed(const __be32 prefix[4], __u32 length, __be32 ipv4, __be32 address[4])
{
	__u32 host_ipv4 = host32(ipv4);

	address[0] = prefix[0];
	address[1] = prefix[1];
	address[2] = prefix[2];
	address[3] = prefix[3];
	switch (length) {
	case 32:
		address[1] = ipv4;
		break;
	case 40:
		embed_across(address, host_ipv4, 8);
		break;
	case 48:
		embed_across(address, host_ipv4, 16);
		break;
	case 56:
		embed_across(address, host_ipv4, 24);
		break;
	case 64:
		address[2] = net32(host_ipv4 >> 8);
		address[3] = net32(host_ipv4 << 24);
		break;
	default: /* 96 */
		address[3] = ipv4;
	}
}

/* The IPv4 address inside `address`; suffix bits are ignored. */
INLINE __be32 rfc6052_extract(const __be32 address[4], __u32 length)
{
	switch (length) {
	case 32:
		return address[1];
	case 40:
		return net32(extract_across(address, 8));
	case 48:
		return net32(extract_across(address, 16));
	case 56:
		return net32(extract_across(address, 24));
	case 64:
		return net32(host32(address[2]) << 8 | host32(address[3]) >> 24);
	default: /* 96 */
		return address[3];
	}
}

/* Octet u is not zero: nothing that was made by this encoding. */
INLINE _Bool has_u_octet(const __be32 address[4])
{
	return host32(address[2]) >> 24;
}

INLINE _Bool under_prefix(const __be32 address[4], const __be32 prefix[4], __u32 length)
{
	__u64 high = (__u64)(address[0] ^ prefix[0]);
	__u32 second = host32(address[1] ^ prefix[1]);

	if (high)
		return 0;
	if (length < 64)
		return length == 32 || !(second >> (64 - length));
	if (second)
		return 0;
	return length == 64 || !(address[2] ^ prefix[2]);
}

#endif
