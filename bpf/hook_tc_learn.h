/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What TC sees of packets that the kernel has let through on their way out of the WAN, before
 * translation: shortcuts begin here. What they still need is an answer (hook_tc_confirm.h). */
#ifndef MAPXDP_HOOK_TC_LEARN_H
#define MAPXDP_HOOK_TC_LEARN_H

#include "hook_tc.h"
#include "shortcut_end.h"
#include "shortcut_learn.h"
#include "translate46.h"

/* In tc_index of packets that took a shortcut: they meet these programs once more. */
enum { TOOK_SHORTCUT = 0x6d78 };

/* True for mappings whose connection nobody has begun to end. */
INLINE _Bool is_lasting(__u64 flags)
{
	return !(flags & (FLAG_RST | FLAG_FIN_46 | FLAG_FIN_64));
}

/* The mapping that gave the applicant its port, and where it is. */
INLINE struct mapping *mapping_of_port(const struct applicant *applicant, __u16 port,
				       struct shortcut *fresh)
{
	struct port_set set = port_set_of(applicant->config);
	__u32 position = slot_of_port(&set, port);
	struct mapping *slot;
	__u64 owner;

	if (position >= SLOTS)
		return 0;
	fresh->mapping = applicant->endpoint.protocol * SLOTS + position;
	slot = slot_at(fresh->mapping);
	if (!slot)
		return 0;
	owner = READ_ONCE(slot->owner);
	fresh->owner_state = owner_state(owner);
	if (fresh->owner_state != SLOT_SHARED)
		return slot;
	fresh->owner_state = SLOT_FLOW;
	fresh->mapping = flow_lookup(flow_key_46(&applicant->endpoint, applicant->peer));
	return flow_at(fresh->mapping);
}

/* A packet that is about to be translated and to leave with `port`: it begins a shortcut, or ends
 * those of its connection. */
INLINE void learn_46(struct __sk_buff *skb, const struct config *config,
		     const struct upstream *packet, __u16 port)
{
	const struct transport *transport = &packet->transport;
	const struct ipv4_header *ipv4 = &packet->ipv4.header;
	struct applicant applicant;
	struct shortcut_key key;
	struct shortcut *fresh;
	struct mapping *mapping;
	struct shortcut *old;
	__u64 flags;

	if (!L2_LENGTH || !config->shortcut_ticks || config->napt44 != NAPT44_BPF ||
	    lacks_checksum(transport) || has_options(ipv4))
		return;
	applicant = applicant_for(config, packet);
	if (changes_connection(transport))
		return end_shortcuts(config, transport->index, &applicant.endpoint, port,
				     ipv4->destination, transport->destination_port);
	fresh = shortcut_in_work();
	if (!fresh)
		return;
	fresh->host = ipv4->source;
	fresh->translated_port = port;
	fresh->ifindex = skb->ifindex;
	mapping = mapping_of_port(&applicant, port, fresh);
	if (!mapping || !read_hop(tc_data(skb), tc_end(skb), fresh->hop))
		return;
	fresh->generation = READ_ONCE(mapping->generation);
	flags = READ_ONCE(mapping->flags);
	if (!is_lasting(flags) || !is_same_mapping(fresh, mapping, transport->source_port))
		return;
	key = shortcut_key(transport->index, ipv4->source, transport->source_port,
			   ipv4->destination, transport->destination_port);
	old = find_shortcut(MAP(shortcuts_46), config, &key);
	/* Known when an answer leaves into the LAN. */
	if (old)
		copy_words(fresh->own, old->own, OWN_WORDS);
	else
		__builtin_memset(fresh->own, 0, sizeof(fresh->own));
	keep_shortcut(
		MAP(shortcuts_46), config, &key, old, fresh,
		shortcut_life(shortcut_until(config, mapping, applicant.now), SHORTCUT_SEEN, flags),
		applicant.now);
}

#endif
