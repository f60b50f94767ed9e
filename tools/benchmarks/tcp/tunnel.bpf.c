/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The far end of a MAP-E tunnel, on the server itself: no more than is needed for TCP.
 *
 *   wrap    TC egress: IPv4 goes into IPv6
 *   unwrap  TC ingress: and comes out of it
 *
 * Segmented packets stay whole, and checksums that are left to the card stay left to it. */
#include "byteorder.h"
#include "headers.h"
#include "portable.h"

enum { ETHERNET = 14, AT_TYPE = 12, AT_PROTOCOL = 20, HOP_LIMIT = 64, VERSION_6 = 6 << 28 };

struct tunnel {
	__u8 addresses[32]; /* of the server, of the CE */
};

struct outer {
	__be32 version;
	__be16 length;
	__u8 protocol;
	__u8 hop_limit;
	struct tunnel ends;
};

INLINE int is_of(struct __sk_buff *skb, __u16 type)
{
	return skb->protocol == net16(type);
}

INLINE void write_type(struct __sk_buff *skb, __u16 type)
{
	__be16 value = net16(type);

	kernel_skb_store_bytes(skb, AT_TYPE, &value, sizeof(value), 0);
}

PROGRAM int wrap(struct __sk_buff *skb)
{
	const struct tunnel *tunnel = MAP_VALUE(tunnel);
	const __u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO;
	struct outer outer;

	if (!is_of(skb, ETHERTYPE_IPV4))
		return TC_ACT_UNSPEC;
	outer.version = net32(VERSION_6);
	outer.length = net16((__u16)(skb->len - ETHERNET));
	outer.protocol = 4;
	outer.hop_limit = HOP_LIMIT;
	outer.ends = *tunnel;
	if (kernel_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC, flags))
		return TC_ACT_SHOT;
	kernel_skb_store_bytes(skb, ETHERNET, &outer, sizeof(outer), 0);
	write_type(skb, ETHERTYPE_IPV6);
	return TC_ACT_UNSPEC;
}

PROGRAM int unwrap(struct __sk_buff *skb)
{
	__u8 ipv4[20];
	__u8 protocol = 0;

	kernel_skb_load_bytes(skb, AT_PROTOCOL, &protocol, sizeof(protocol));
	if (!is_of(skb, ETHERTYPE_IPV6) || protocol != 4)
		return TC_ACT_UNSPEC;
	kernel_skb_load_bytes(skb, ETHERNET + sizeof(struct outer), ipv4, sizeof(ipv4));
	/* As two steps, of which no kernel lacks one: see bpf/emit_mape.h. */
	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV4), 0) ||
	    kernel_skb_adjust_room(skb, -20, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return TC_ACT_SHOT;
	kernel_skb_store_bytes(skb, ETHERNET, ipv4, sizeof(ipv4), 0);
	write_type(skb, ETHERTYPE_IPV4);
	return TC_ACT_UNSPEC;
}
