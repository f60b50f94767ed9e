/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose packet is it? Choosing addresses in each direction (RFC 7599 section 8, RFC 7597
 * section 8), before any port is looked at. */
#ifndef MAPXDP_CHOOSE_H
#define MAPXDP_CHOOSE_H

#include "byteorder.h"
#include "contract.h"
#include "inline.h"
#include "reasons.h"
#include "rfc6052.h"

INLINE _Bool same_ipv6(const __be32 one[4], const __be32 other[4])
{
	return !((one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]) |
		 (one[3] ^ other[3]));
}

/* Multicast and the limited broadcast: for the link, not for the Internet. */
INLINE _Bool is_for_link(__be32 ipv4)
{
	return host32(ipv4) >> 28 == 14 || ipv4 == 0xffffffff;
}

/* What no host on the Internet has: 0/8, 127/8, 169.254/16 and from 224/4 on (RFC 6890). */
INLINE _Bool is_martian(__be32 ipv4)
{
	__u32 address = host32(ipv4);
	__u32 first = address >> 24;

	return first == 0 || first == 127 || first >= 224 || address >> 16 == 0xa9fe;
}

/* What only some network knows: private (RFC 1918), shared (RFC 6598), of protocols (RFC 6890),
 * of documentation (RFC 5737) and of benchmarks (RFC 2544). */
INLINE _Bool is_global(__be32 ipv4)
{
	__u32 address = host32(ipv4);
	__u32 first_24 = address >> 8;

	return address >> 24 != 10 && address >> 20 != 0xac1 && address >> 16 != 0xc0a8 &&
	       address >> 22 != 0x6440 >> 6 && address >> 17 != 0xc612 >> 1 &&
	       first_24 != 0xc00000 && first_24 != 0xc00002 && first_24 != 0xc63364 &&
	       first_24 != 0xcb0071;
}

/* 64:ff9b::/96 is the same in every network: it must not stand for what is not (RFC 6052
 * section 3.1). */
INLINE _Bool has_well_known_prefix(const struct config *config)
{
	return config->dmr_length == 96 && config->far_end[0] == net32(0x0064ff9b) &&
	       !(config->far_end[1] | config->far_end[2]);
}

INLINE _Bool is_on_link(const struct config *config, __be32 ipv4)
{
	for (__u32 i = 0; i < ON_LINK_MAX; i++) {
		const struct ipv4_prefix *prefix = &config->on_link[i];

		if (i < config->on_link_count && (ipv4 & prefix->mask) == prefix->address)
			return 1;
	}
	return 0;
}

/* IPv4 that leaves the WAN is ours unless its destination never was beyond the WAN link. */
INLINE enum reason choose_46(const struct config *config, __be32 source, __be32 destination)
{
	if (is_for_link(destination))
		return REASON_DESTINATION_NOT_ROUTED;
	if (config->on_link_count && is_on_link(config, destination))
		return REASON_DESTINATION_ON_LINK;
	if (is_martian(destination))
		return REASON_DESTINATION_MARTIAN;
	if (is_martian(source))
		return REASON_SOURCE_MARTIAN;
	if (has_well_known_prefix(config) && !is_global(destination))
		return REASON_NOT_GLOBAL;
	return REASON_TRANSLATED;
}

INLINE _Bool is_own_ipv4(const struct config *config, __be32 ipv4)
{
	return (ipv4 & config->ipv4_mask) == config->ipv4;
}

#endif
