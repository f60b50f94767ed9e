/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC egress of the WAN: the programs that send a packet back into the LAN, which are the same in
 * every mode. The kernel routes what seems to come in from the WAN. */
#ifndef MAPXDP_HOOK_TC_AROUND_H
#define MAPXDP_HOOK_TC_AROUND_H

#include "hairpin.h"
#include "hook_tc_46.h"
#include "refusal.h"

/* The frame is the WAN's own: the kernel would ignore one to the gateway's address. */
INLINE int tc_turn_around(struct __sk_buff *skb)
{
	__u8 own[6];

	if (L2_LENGTH) {
		kernel_skb_load_bytes(skb, sizeof(own), own, sizeof(own));
		tc_write(skb, 0, own, sizeof(own));
	}
	return kernel_redirect(skb->ifindex, BPF_F_INGRESS);
}

INLINE void tc_write_hairpin(struct __sk_buff *skb, const struct transport *transport,
			     const struct hairpin *out)
{
	__u64 udp = transport->index == INDEX_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 checksum = checksum_offset(transport);

	if (transport->index != INDEX_UDP || transport->checksum) {
		kernel_l4_csum_replace(skb, checksum, 0, out->pseudo_header,
				       udp | BPF_F_PSEUDO_HDR);
		kernel_l4_csum_replace(skb, checksum, 0, out->ports_change, udp);
	}
	tc_write(skb, transport->offset, out->ports, sizeof(out->ports));
	tc_write(skb, L2_LENGTH, &out->ipv4, sizeof(out->ipv4));
}

/* Hairpin program. */
INLINE int tc_hairpin(struct __sk_buff *skb)
{
	struct tc_upstream up;
	struct endpoint endpoint;
	struct hairpin out;
	__u16 port = skb->cb[CB_VALUE];
	enum reason reason = tc_admit_46(skb, &up);

	if (!reason)
		reason = hairpin_endpoint(up.config, &up.packet, port, &endpoint);
	if (reason)
		return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
	turn_around(up.config, &up.packet, port, &endpoint, &out);
	reason = tc_make_writable(skb, &up.packet.transport);
	if (reason)
		return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
	tc_write_hairpin(skb, &up.packet.transport, &out);
	count(DIRECTION_46, REASON_HAIRPINNED, up.packets, up.bytes);
	return tc_turn_around(skb);
}

/* Octets of the packet that are quoted. */
INLINE __u32 tc_quoted(const struct transport *transport)
{
	return sizeof(struct ipv4_header) +
	       (transport->index == INDEX_TCP ? QUOTED_TCP : QUOTED_OTHER);
}

/* The packet becomes the ICMP error about it. False where that is not possible. A checksum that
 * a network card was to fill in stays pending in the quote; nobody reads it there. */
INLINE _Bool tc_become_refusal(struct __sk_buff *skb, const struct tc_upstream *up)
{
	__u32 quoted = tc_quoted(&up->packet.transport);
	struct refusal refusal = {};
	__u16 quote[QUOTE_MAX / 2] = {};
	__u64 sum = 0;

	if (quoted == QUOTE_MAX ? kernel_skb_load_bytes(skb, L2_LENGTH, quote, QUOTE_MAX)
				: kernel_skb_load_bytes(skb, L2_LENGTH, quote,
							sizeof(struct ipv4_header) + QUOTED_OTHER))
		return 0;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < QUOTE_MAX / 2; i++)
		sum += quote[i];
	refuse_packet(up->config->refusal_code, up->config->ipv4, up->packet.ipv4.header.source,
		      quoted, sum, &refusal);
	if (kernel_skb_change_tail(skb, L2_LENGTH + quoted, 0) ||
	    kernel_skb_adjust_room(skb, sizeof(refusal), BPF_ADJ_ROOM_MAC, 0))
		return 0;
	tc_write(skb, L2_LENGTH, &refusal, sizeof(refusal));
	return 1;
}

/* Refuse program: counts the packet as what it was refused for, and tells its host. */
INLINE int tc_refuse_and_tell(struct __sk_buff *skb)
{
	enum reason why = skb->cb[CB_VALUE];
	struct tc_upstream up;
	struct applicant applicant;
	enum reason reason = tc_admit_46(skb, &up);

	if (reason)
		return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
	if (up.packet.transport.is_first_fragment)
		tc_abandon(&up);
	applicant = applicant_for(up.config, &up.packet);
	count(DIRECTION_46, why, up.packets, up.bytes);
	count_refused(applicant.endpoint.ipv4);
	log_event(up.config, EVENT_REFUSED, applicant.endpoint, 0, applicant.peer, applicant.now);
	if (!up.config->refusal_code || skb->gso_size ||
	    !take_budget(&the_pool()->refusal_budget, applicant.now,
			 up.config->refusals_per_tick) ||
	    !tc_become_refusal(skb, &up))
		return TC_ACT_SHOT;
	count_event(DIRECTION_46, REASON_REFUSAL_SENT);
	return tc_turn_around(skb);
}

#endif
