/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The accelerator at TC, where XDP cannot be: the columns of calls that every mode has. Segmented
 * packets stay whole, and a checksum that is left to the card stays left to it. */
#ifndef MAPXDP_HOOK_TC_ACCELERATOR_H
#define MAPXDP_HOOK_TC_ACCELERATOR_H

#include "accelerate64.h"
#include "hook_tc_confirm.h"
#include "rewrite.h"

enum { PACKET_FOR_THIS_HOST = 0 }; /* PACKET_HOST of linux/if_packet.h */

/* Whether a packet that came in may be of interest; its headers can be read then. */
INLINE _Bool tc_may_accelerate(struct __sk_buff *skb, __u16 ether_type)
{
	/* A neighbour's, where both ends of a link are on this machine. */
	if (skb->tc_index)
		skb->tc_index = 0;
	if (skb->protocol != net16(ether_type) || tc_is_of_vlan(skb) ||
	    skb->pkt_type != PACKET_FOR_THIS_HOST)
		return 0;
	tc_pull_headers(skb);
	return 1;
}

/* Whether the packet may be written where it lies: it leaves as it is, its checksum is `pending` for
 * no card, and the kernel keeps no sum of what is in it. Others are left to the kernel's helpers,
 * which know. */
INLINE _Bool tc_may_rewrite(struct __sk_buff *skb, _Bool pending)
{
	return !skb->gso_size && !pending && kernel_csum_update(skb, 0) < 0;
}

/* Room has been made. */
INLINE enum reason tc_rewrite(struct __sk_buff *skb, const struct rewriting *to)
{
	return rewrite((void *)tc_data(skb), tc_end(skb), to) ? REASON_TRANSLATED
							      : REASON_KERNEL_REFUSED;
}

/* `reason` is what became of the packet as the kernel's helpers wrote it: all but the link-layer
 * addresses. */
INLINE enum reason tc_write_hop(struct __sk_buff *skb, enum reason reason,
				const struct shortcut *shortcut)
{
	if (!reason)
		tc_write(skb, 0, shortcut->hop, sizeof(shortcut->hop));
	return reason;
}

/* A translated packet leaves the way its shortcut leads. */
INLINE int tc_take_shortcut(struct __sk_buff *skb, const struct shortcut *shortcut,
			    enum direction direction, __u32 packets, __u32 bytes)
{
	skb->tc_index = TOOK_SHORTCUT;
	count(direction, REASON_TRANSLATED, packets, bytes);
	count(direction, REASON_ACCELERATED, packets, bytes);
	return kernel_redirect(shortcut->ifindex, 0);
}

/* How a mode turns the packet into IPv6 and writes it. */
typedef enum reason (*accelerated_step_46)(struct __sk_buff *skb, const struct config *config,
					   const struct accelerated_46 *up);

/* From the LAN. */
INLINE int tc_lan(struct __sk_buff *skb, accelerated_step_46 emit)
{
	const struct config *config = active_config();
	__u32 bytes = tc_network_length(skb);
	const struct transport *transport;
	struct accelerated_46 up;
	enum reason reason;
	__u32 packets;

	if (!tc_may_accelerate(skb, ETHERTYPE_IPV4) ||
	    !is_simple_46(config, tc_data(skb), tc_end(skb), L2_LENGTH, bytes, skb->gso_size,
			  &up.packet))
		return TC_ACT_UNSPEC;
	up.shortcut = shortcut_46(config, &up.packet);
	if (!up.shortcut || !takes_shortcut_46(skb, config, skb->ifindex, skb->gso_size, &up))
		return TC_ACT_UNSPEC;
	transport = &up.packet.transport;
	packets = tc_segments(skb, headers_length(transport));
	reason = emit(skb, config, &up);
	if (reason)
		return tc_finish(DIRECTION_46, reason, packets, bytes);
	return tc_take_shortcut(skb, up.shortcut, DIRECTION_46, packets, bytes);
}

/* How a mode turns the packet into IPv4 and writes it. */
typedef enum reason (*accelerated_step_64)(struct __sk_buff *skb, const struct config *config,
					   struct accelerated_64 *down);

/* From the domain. */
INLINE int tc_wan(struct __sk_buff *skb, struct mode_64 mode, accelerated_step_64 emit)
{
	const struct config *config = active_config();
	struct accelerated_64 down;
	enum reason reason;
	__u32 headers;
	__u32 packets;

	if (!tc_may_accelerate(skb, ETHERTYPE_IPV6) ||
	    !mode.read(config, tc_data(skb), tc_end(skb), L2_LENGTH, tc_network_length(skb), &down))
		return TC_ACT_UNSPEC;
	headers = sizeof(struct ipv4_header) + mode.transport(&down)->header_length;
	if (!takes_shortcut_64(skb, config, skb->ifindex,
			       longest_piece(down.length, headers, skb->gso_size), &down,
			       mode.ends(&down)))
		return TC_ACT_UNSPEC;
	packets = tc_segments(skb, headers_length(mode.transport(&down)));
	reason = emit(skb, config, &down);
	if (reason)
		return tc_finish(DIRECTION_64, reason, packets, down.length);
	return tc_take_shortcut(skb, down.shortcut, DIRECTION_64, packets, down.length);
}

#endif
