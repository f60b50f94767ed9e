/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a packet's transport header needs when its addresses, its port and (ICMP) its type
 * change: computed here, written by the hook.
 *
 * The change of the checksum is kept in two parts. A sender may have left the checksum to the
 * network card; the field then holds the sum of the pseudo header alone, and only the first
 * part belongs into it. The kernel's helpers know which case it is.
 */
#ifndef MAPXDP_TRANSPORT_CHANGE_H
#define MAPXDP_TRANSPORT_CHANGE_H

#include "byteorder.h"
#include "contract.h"
#include "csum.h"
#include "packet.h"

struct transport_change {
	__u32 pseudo_header; /* sum of the new pseudo header without the old one */
	__u32 data;	     /* the same for what lies in the transport header */
	__u32 port_offset;   /* in the frame, of the port or identifier that changes */
	__u32 checksum_offset;
	__u32 mss_offset; /* in the frame; 0: the MSS stays */
	__be16 port;
	__be16 mss;
	__u8 icmp_type;
	_Bool is_udp;
};

INLINE __u32 checksum_offset(const struct transport *transport)
{
	switch (transport->index) {
	case INDEX_TCP:
		return transport->offset + __builtin_offsetof(struct tcp_header, checksum);
	case INDEX_UDP:
		return transport->offset + __builtin_offsetof(struct udp_header, checksum);
	default:
		return transport->offset + __builtin_offsetof(struct icmp_header, checksum);
	}
}

/* Adds to the change that a 16-bit word of the header becomes another one. */
INLINE void change_word(struct transport_change *change, __u16 from, __u16 to)
{
	/* Adding nothing can turn one zero of the one's complement into the other. */
	if (from == to)
		return;
	change->data = sum_fold32((__u64)change->data + (__u16)~from + to);
}

INLINE void change_source_port(const struct transport *transport, __u16 port,
			       struct transport_change *change)
{
	__u32 offset = transport->index == INDEX_ICMP
			       ? __builtin_offsetof(struct icmp_header, identifier)
			       : __builtin_offsetof(struct tcp_header, source_port);

	change->port_offset = transport->offset + offset;
	change->port = net16(port);
	change_word(change, net16(transport->source_port), change->port);
}

INLINE void change_destination_port(const struct transport *transport, __u16 port,
				    struct transport_change *change)
{
	__u32 offset = transport->index == INDEX_ICMP
			       ? __builtin_offsetof(struct icmp_header, identifier)
			       : __builtin_offsetof(struct tcp_header, destination_port);

	change->port_offset = transport->offset + offset;
	change->port = net16(port);
	change_word(change, net16(transport->destination_port), change->port);
}

/* Whether a whole packet's checksum is no more than the sum of its pseudo header: the rest is for the
 * network card to add. One in 65536 others looks the same. */
INLINE _Bool is_checksum_pending(const struct transport *transport, __u64 pseudo_header)
{
	__u16 sum = sum_fold16(pseudo_header);
	__u16 difference = sum - transport->checksum;

	return !difference || (sum == 0xffff && !transport->checksum);
}

/* The type is the first octet of its 16-bit word; the code beside it stays. */
INLINE void change_icmp_type(const struct transport *transport, __u8 type,
			     struct transport_change *change)
{
	change->icmp_type = type;
	change_word(change, net16(transport->icmp_type << 8), net16(type << 8));
}

INLINE __u16 swapped(__u16 word)
{
	return word >> 8 | word << 8;
}

/* Lowers the MSS of a SYN to `limit`, never raises it. An option at an odd offset lies across
 * two words of the checksum: its two bytes count swapped. */
INLINE void change_mss(const void *data, const void *end, const struct transport *tcp,
		       __u32 mss_offset, __u16 limit, struct transport_change *change)
{
	const __u8 *value = data + mss_offset;
	__u16 old;

	if ((const void *)(value + 2) > end)
		return;
	old = value[0] << 8 | value[1];
	if (old <= limit)
		return;
	change->mss_offset = mss_offset;
	change->mss = net16(limit);
	if ((mss_offset - tcp->offset) & 1)
		change_word(change, net16(swapped(old)), net16(swapped(limit)));
	else
		change_word(change, net16(old), net16(limit));
}

#endif
