/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether the kernel would still send packets where a shortcut leads: its routes, rules and
 * neighbours are asked once a tick for each shortcut that is used, so that a change takes effect
 * within a tick, whoever is alive to notice. */
#ifndef MAPXDP_NEXT_HOP_H
#define MAPXDP_NEXT_HOP_H

#include "shortcut.h"

enum { LINK_ADDRESS_OCTETS = 6 };
enum { ADDRESS_FAMILY_IPV4 = 2 }; /* AF_INET */

INLINE _Bool is_same_hop(const struct bpf_fib_lookup *route, const struct shortcut *shortcut)
{
	const __u16 *to = (const __u16 *)route->dmac;
	const __u16 *from = (const __u16 *)route->smac;

	return to[0] == shortcut->hop[0] && to[1] == shortcut->hop[1] &&
	       to[2] == shortcut->hop[2] && from[0] == shortcut->hop[3] &&
	       from[1] == shortcut->hop[4] && from[2] == shortcut->hop[5];
}

/* The IPv4 packet as the kernel routes it: after translation where it comes from the WAN. */
struct routed {
	__be32 source;
	__be32 destination;
	__u32 came_in; /* ifindex */
	__u8 tos;
};

/* Asks for the route, and for its MTU: any length is given for that. */
INLINE _Bool leads_where_it_did(void *context, struct shortcut *shortcut, struct routed packet)
{
	struct bpf_fib_lookup route = {
		.family = ADDRESS_FAMILY_IPV4,
		.tot_len = 1,
		.ifindex = packet.came_in,
		.tos = packet.tos,
		.ipv4_src = packet.source,
		.ipv4_dst = packet.destination,
	};

	if (kernel_fib_lookup(context, &route, sizeof(route), 0) != BPF_FIB_LKUP_RET_SUCCESS ||
	    route.ifindex != shortcut->ifindex || !is_same_hop(&route, shortcut))
		return 0;
	WRITE_ONCE(shortcut->mtu, route.mtu_result);
	return 1;
}

/* Whether what is looked at once a tick has yet to be. */
INLINE _Bool is_to_be_checked(const struct shortcut *shortcut, __u32 now)
{
	return READ_ONCE(shortcut->checked) != now;
}

/* What was looked at: `holds`, or the shortcut ends here, and the packet is the kernel's. */
INLINE _Bool note_check(struct shortcut *shortcut, _Bool holds, __u32 now)
{
	if (holds)
		WRITE_ONCE(shortcut->checked, now);
	else
		end_shortcut(shortcut, READ_ONCE(shortcut->life), now);
	return holds;
}

#endif
