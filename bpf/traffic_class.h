/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Traffic Class of packets to the WAN: what IPv4 has as TOS, or always the same (RFC 7915
 * section 4.1, RFC 2473 section 6.4). */
#ifndef MAPXDP_TRAFFIC_CLASS_H
#define MAPXDP_TRAFFIC_CLASS_H

#include "byteorder.h"
#include "contract.h"
#include "encapsulation.h"
#include "headers.h"
#include "inline.h"

INLINE __u8 translated_class(const struct config *config, __u8 tos)
{
	return config->traffic_class == TRAFFIC_CLASS_COPY ? tos : config->traffic_class;
}

/* ECN is not the operator's to choose: the mark has to cross the tunnel (RFC 6040 section 4.1). */
INLINE __u8 tunnel_class(const struct config *config, __u8 tos)
{
	return (translated_class(config, tos) & ~ECN_MASK) | (tos & ECN_MASK);
}

/* The Flow Label stays 0. */
INLINE void set_traffic_class(struct ipv6_header *ipv6, __u8 traffic_class)
{
	ipv6->version_class_flow = net32(6U << 28 | (__u32)traffic_class << 20);
}

#endif
