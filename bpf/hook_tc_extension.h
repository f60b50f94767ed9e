/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC ingress of the WAN: takes packets out of IPv6 extension headers and hands them back to the
 * entry, and tells senders from the domain what they did wrong. */
#ifndef MAPXDP_HOOK_TC_EXTENSION_H
#define MAPXDP_HOOK_TC_EXTENSION_H

#include "hook_tc_sum.h"
#include "ipv6_extension.h"
#include "pool.h"
#include "refusal_64.h"
#include "translate64.h"

/* The extension headers of a packet, as far as they can be followed. */
INLINE struct extensions tc_extensions(struct __sk_buff *skb, const struct ipv6_view *ipv6)
{
	struct extensions extensions = {.next_header = ipv6->next_header};

#pragma clang loop unroll(disable)
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		struct extension_header header;
		__u32 offset = L2_LENGTH + sizeof(struct ipv6_header) + extensions.octets;

		if (!is_skipped(extensions.next_header) ||
		    kernel_skb_load_bytes(skb, offset, &header, sizeof(header)))
			break;
		pass_extension(&header, &extensions);
	}
	return extensions;
}

INLINE enum reason tc_check_extensions(struct __sk_buff *skb, const struct config *config,
				       __u32 bytes, struct ipv6_view *ipv6,
				       struct extensions *extensions)
{
	enum reason reason = admit_64(config, tc_data(skb), tc_end(skb), L2_LENGTH, ipv6);

	if (reason)
		return reason;
	*extensions = tc_extensions(skb, ipv6);
	reason = check_payload_length(ipv6, bytes);
	if (!reason)
		reason = check_extensions(extensions, ipv6->payload_length);
	if (!config->dmr_length)
		return check_tunnel_extensions(
			extensions, rule_of_tunnelled(config, ipv6->source) != NO_RULE, reason);
	if (reason == REASON_ROUTING_HEADER)
		return tc_refuse_64(skb, reason, extensions->pointer);
	return reason;
}

/* The packet without the headers between IPv6 and what they carry. */
INLINE enum reason tc_take_out(struct __sk_buff *skb, const struct ipv6_view *ipv6,
			       const struct extensions *extensions)
{
	__be16 length = net16(ipv6->payload_length - extensions->octets);

	if (kernel_skb_adjust_room(skb, -(__s32)extensions->octets, BPF_ADJ_ROOM_NET,
				   BPF_F_ADJ_ROOM_FIXED_GSO))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH + __builtin_offsetof(struct ipv6_header, payload_length),
			&length, sizeof(length));
	tc_write_header(skb, L2_LENGTH + __builtin_offsetof(struct ipv6_header, next_header),
			&extensions->next_header, sizeof(extensions->next_header));
	return tc_continue(skb, PROGRAM_ENTRY_64);
}

/* Extension program. */
INLINE int tc_extension(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	__u32 bytes = tc_network_length(skb);
	struct extensions extensions = {};
	struct ipv6_view ipv6;
	enum reason reason = tc_check_extensions(skb, config, bytes, &ipv6, &extensions);

	if (!reason)
		reason = tc_take_out(skb, &ipv6, &extensions);
	return tc_finish(DIRECTION_64, reason, 1, bytes);
}

/* True for an ICMPv6 error, about which there is never another one. */
INLINE _Bool tc_is_icmpv6_error(struct __sk_buff *skb, const struct extensions *extensions)
{
	__u32 offset = L2_LENGTH + sizeof(struct ipv6_header) + extensions->octets;
	__u8 type;

	if (extensions->next_header != PROTOCOL_ICMPV6)
		return is_skipped(extensions->next_header);
	return kernel_skb_load_bytes(skb, offset, &type, 1) || type < ICMPV6_INFORMATIONAL;
}

/* The packet becomes the ICMPv6 error about it. False where that is not possible. */
INLINE _Bool tc_become_refusal_64(struct __sk_buff *skb, const struct ipv6_view *ipv6)
{
	__u32 quoted = quoted_octets_64(ipv6);
	struct refusal_64 refusal = {};
	__u32 sum = 0;

	if (!tc_sum(skb, L2_LENGTH, quoted, &sum))
		return 0;
	refuse_packet_64(skb->cb[CB_VALUE], ipv6, skb->cb[CB_POSITION], quoted, sum, &refusal);
	if (kernel_skb_change_tail(skb, L2_LENGTH + quoted, 0) ||
	    kernel_skb_adjust_room(skb, sizeof(refusal), BPF_ADJ_ROOM_MAC, 0))
		return 0;
	tc_write_header(skb, L2_LENGTH, &refusal, sizeof(refusal));
	return 1;
}

/* Out of the interface again, to where the frame came from. */
INLINE int tc_send_back(struct __sk_buff *skb)
{
	struct {
		__u8 to[6];
		__u8 from[6];
	} came, goes;

	if (L2_LENGTH) {
		kernel_skb_load_bytes(skb, 0, &came, sizeof(came));
		__builtin_memcpy(goes.to, came.from, sizeof(goes.to));
		__builtin_memcpy(goes.from, came.to, sizeof(goes.from));
		tc_write(skb, 0, &goes, sizeof(goes));
	}
	return kernel_redirect(skb->ifindex, 0);
}

/* Refuse program: counts the packet as what it was refused for, and tells its sender. */
INLINE int tc_refuse_and_tell_64(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	__u32 bytes = tc_network_length(skb);
	enum reason why = skb->cb[CB_VALUE];
	struct extensions extensions;
	struct ipv6_view ipv6;
	enum reason reason = admit_64(config, tc_data(skb), tc_end(skb), L2_LENGTH, &ipv6);

	if (reason)
		return tc_finish(DIRECTION_64, reason, 1, bytes);
	count(DIRECTION_64, why, 1, bytes);
	extensions = tc_extensions(skb, &ipv6);
	if (skb->gso_size || tc_is_icmpv6_error(skb, &extensions) ||
	    !take_budget(&the_pool()->refusal_budget, current_tick(config),
			 config->refusals_per_tick) ||
	    !tc_become_refusal_64(skb, &ipv6))
		return TC_ACT_SHOT;
	count_event(DIRECTION_64, REASON_REFUSAL_SENT);
	return tc_send_back(skb);
}

#endif
