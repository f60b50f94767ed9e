/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The checksum that UDP in IPv4 may lack and UDP in IPv6 may not (RFC 768, RFC 7915 section
 * 4.5). */
#ifndef MAPXDP_UDP_CHECKSUM_H
#define MAPXDP_UDP_CHECKSUM_H

#include "byteorder.h"
#include "csum.h"
#include "headers.h"

/* `length` is that of the datagram, as its header has it; `sum` is of all its octets. A checksum
 * that comes out as 0 is sent as its other form: 0 says that there is none. */
INLINE __u16 udp_checksum(const struct ipv4_header *ipv4, __be16 length, __u64 sum)
{
	__u16 checksum =
		~sum_fold16(sum + ipv4->source + ipv4->destination + length + net16(PROTOCOL_UDP));

	return checksum ? checksum : 0xffff;
}

#endif
