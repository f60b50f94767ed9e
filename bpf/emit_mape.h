/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-E and lw4o6 (RFC 7597, RFC 7596): TC writes what was computed. From its first write on there
 * is no way back. */
#ifndef MAPXDP_EMIT_MAPE_H
#define MAPXDP_EMIT_MAPE_H

#include "hook_tc.h"
#include "translate46.h"
#include "translate64.h"

INLINE long tc_add_tunnel_header(struct __sk_buff *skb)
{
	/* Segments of UDP are datagrams: the size that was chosen for them stays. */
	const __u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO;

	return kernel_skb_adjust_room(skb, sizeof(struct ipv6_header), BPF_ADJ_ROOM_MAC, flags);
}

INLINE enum reason emit_46(struct __sk_buff *skb, const struct transport *transport,
			   const struct encapsulation_46 *out)
{
	if (tc_make_writable(skb, transport))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_transport(skb, DIRECTION_46, transport, &out->change);
	tc_write(skb, L2_LENGTH, &out->inner, sizeof(out->inner));
	if (tc_add_tunnel_header(skb))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, &out->outer, sizeof(out->outer));
	tc_write_ether_type(skb, ETHERTYPE_IPV6);
	return REASON_TRANSLATED;
}

/* Taking 40 bytes off and saying that IPv4 is left needs a flag that only kernels from 6.3 have: others
 * refuse it. Taking 20 off as a change of family, and the other 20 as room, needs none. */
INLINE long tc_remove_tunnel_header(struct __sk_buff *skb)
{
	const __u64 flags = BPF_F_ADJ_ROOM_DECAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO;
	const __s32 all = sizeof(struct ipv6_header);
	const __s32 rest = all - (__s32)sizeof(struct ipv4_header);

	if (!kernel_skb_adjust_room(skb, -all, BPF_ADJ_ROOM_MAC, flags))
		return 0;
	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV4), 0))
		return -1;
	return kernel_skb_adjust_room(skb, -rest, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

INLINE enum reason emit_64(struct __sk_buff *skb, const struct transport *transport,
			   const struct decapsulation_64 *out)
{
	if (tc_make_writable(skb, transport))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_transport(skb, DIRECTION_64, transport, &out->change);
	if (tc_remove_tunnel_header(skb))
		return REASON_KERNEL_REFUSED;
	tc_write(skb, L2_LENGTH, &out->ipv4, sizeof(out->ipv4));
	tc_write_ether_type(skb, ETHERTYPE_IPV4);
	return REASON_TRANSLATED;
}

#endif
