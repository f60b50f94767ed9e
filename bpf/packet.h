/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What parsing found in a packet: values in host order (addresses stay in network order) and
 * offsets from the start of the frame. Nothing here points into the packet. */
#ifndef MAPXDP_PACKET_H
#define MAPXDP_PACKET_H

#include "headers.h"
#include "inline.h"

struct ipv4_view {
	struct ipv4_header header; /* as it lies in the packet */
	__u32 offset;
	__u16 total_length;
	_Bool is_fragment;
};

struct ipv6_view {
	__be32 source[4];
	__be32 destination[4];
	__u32 offset;
	__u16 payload_length;
	__u8 traffic_class;
	__u8 next_header;
	__u8 hop_limit;
};

/* TCP, UDP, or the echo messages of ICMP, whose identifier stands for both ports. */
struct transport {
	__u32 offset;
	__u32 header_length;
	__u16 source_port;
	__u16 destination_port;
	__u16 checksum; /* as it lies in the packet */
	__u16 index;	/* enum protocol_index */
	__u8 tcp_flags;
	__u8 icmp_type;
	_Bool is_first_fragment; /* there is more of the datagram in others */
	_Bool keeps_mss;	 /* a SYN in pieces is let alone */
};

/* From the start of the frame to the end of the transport header. */
INLINE __u32 headers_length(const struct transport *transport)
{
	return transport->offset + transport->header_length;
}

#endif
