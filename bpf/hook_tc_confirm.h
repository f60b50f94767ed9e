/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What TC sees of packets on their way out into the LAN: an answer that the kernel has let through
 * confirms the shortcut of its connection, and makes the one of the other direction. */
#ifndef MAPXDP_HOOK_TC_CONFIRM_H
#define MAPXDP_HOOK_TC_CONFIRM_H

#include "hook_tc_learn.h"

/* An IPv4 packet that leaves into the LAN. */
struct answer {
	struct ipv4_view ipv4;
	struct transport transport;
	__u16 hop[HOP_WORDS];
};

INLINE _Bool read_answer(struct __sk_buff *skb, struct answer *answer)
{
	if (skb->protocol != net16(ETHERTYPE_IPV4) || tc_is_of_vlan(skb))
		return 0;
	tc_pull_headers(skb);
	return read_hop(tc_data(skb), tc_end(skb), answer->hop) &&
	       !parse_ipv4(tc_data(skb), tc_end(skb), L2_LENGTH, tc_network_length(skb),
			   &answer->ipv4) &&
	       !answer->ipv4.is_fragment && !has_options(&answer->ipv4.header) &&
	       !parse_transport_ipv4(tc_data(skb), tc_end(skb), &answer->ipv4,
				     &answer->transport) &&
	       !changes_connection(&answer->transport) && !lacks_checksum(&answer->transport);
}

/* The answer proves that both directions pass the kernel. */
INLINE void confirm_46(struct shortcut *up, const struct answer *answer, __u64 life, __u64 flags,
		       __u32 now)
{
	if (shortcut_state(life) == SHORTCUT_SEEN) {
		copy_words(up->own, answer->hop + OWN_WORDS, OWN_WORDS);
		__sync_val_compare_and_swap(&up->life, life,
					    shortcut_life(life, SHORTCUT_CONFIRMED, flags));
	} else if (!are_same_words(up->own, answer->hop + OWN_WORDS, OWN_WORDS)) {
		end_shortcut(up, life, now);
	}
}

/* The other direction of a shortcut there is, or was: the mapping is the same, and the kernel has
 * let this packet through, too. So it does not depend on the host's sending often. */
INLINE void learn_64(struct __sk_buff *skb, const struct config *config, struct shortcut *up,
		     const struct answer *answer, struct mapping *mapping, __u64 life, __u32 now)
{
	struct shortcut_key key =
		shortcut_key(answer->transport.index, config->ipv4, up->translated_port,
			     answer->ipv4.header.source, answer->transport.source_port);
	struct shortcut *fresh = shortcut_in_work();
	struct shortcut *old = find_shortcut(MAP(shortcuts_64), config, &key);

	if (!fresh)
		return;
	fresh->owner_state = up->owner_state;
	fresh->host = up->host;
	fresh->mapping = up->mapping;
	fresh->generation = up->generation;
	fresh->ifindex = skb->ifindex;
	fresh->translated_port = local_port_of(up);
	copy_words(fresh->hop, answer->hop, HOP_WORDS);
	copy_words(fresh->own, up->hop + OWN_WORDS, OWN_WORDS);
	/* Its time may be over: whoever takes its place changes its life before anything else. */
	if (__sync_val_compare_and_swap(&up->life, life, life) != life)
		return;
	keep_shortcut(MAP(shortcuts_64), config, &key, old, fresh,
		      shortcut_life(shortcut_until(config, mapping, now), SHORTCUT_CONFIRMED,
				    READ_ONCE(mapping->flags)),
		      now);
}

/* The whole of TC egress into the LAN. The packet is let alone. */
INLINE int tc_confirm(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	__u32 now = current_tick(config);
	struct answer answer = {};
	struct shortcut_key key;
	struct mapping *mapping;
	struct shortcut *up;
	__u64 life;
	__u64 flags;

	if (skb->tc_index == TOOK_SHORTCUT || !read_answer(skb, &answer))
		return TC_ACT_UNSPEC;
	key = shortcut_key(answer.transport.index, answer.ipv4.header.destination,
			   answer.transport.destination_port, answer.ipv4.header.source,
			   answer.transport.source_port);
	up = find_shortcut(MAP(shortcuts_46), config, &key);
	if (!up)
		return TC_ACT_UNSPEC;
	life = READ_ONCE(up->life);
	if (shortcut_state(life) < SHORTCUT_SEEN)
		return TC_ACT_UNSPEC;
	mapping = mapping_of(up);
	if (!mapping || !is_same_mapping(up, mapping, local_port_of(up)))
		return TC_ACT_UNSPEC;
	flags = READ_ONCE(mapping->flags);
	if (!is_lasting(flags))
		return TC_ACT_UNSPEC;
	learn_64(skb, config, up, &answer, mapping, life, now);
	if (shortcut_ticks_left(life, now) >= 0)
		confirm_46(up, &answer, life, flags, now);
	return TC_ACT_UNSPEC;
}

#endif
