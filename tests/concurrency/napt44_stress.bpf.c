/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* NAPT44 for a random endpoint, again and again, with witnesses who see two of one thing.
 *
 * No packet is needed: the functions under test are those of the datapath. The witnesses are
 * right only while no mapping expires.
 */
#include "napt44_alloc.h"

#define MULTIPLE_PORTS	1 /* an endpoint was seen with two ports */
#define MULTIPLE_OWNERS 2 /* a port was seen with two endpoints */
#define OUTSIDE_SET	3
#define REFUSED		4

INLINE void witness(__u32 what)
{
	__u64 *count = kernel_map_lookup(MAP(violations), &what);

	if (count)
		__sync_fetch_and_add(count, 1);
}

INLINE void look(const struct config *config, struct endpoint endpoint, __u16 port)
{
	struct port_set set = port_set_of(config);
	__u64 who = owner_word(&endpoint, SLOT_EIM);
	__u64 seen_port = port;
	__u32 key = port;
	__u64 *owner = kernel_map_lookup(MAP(owners_seen), &key);
	__u64 *first;

	if (!port_in_set(&set, port))
		witness(OUTSIDE_SET);
	if (owner) {
		__u64 before = __sync_val_compare_and_swap(owner, 0, who);

		if (before && before != who)
			witness(MULTIPLE_OWNERS);
	}
	kernel_map_update(MAP(ports_seen), &endpoint, &seen_port, BPF_NOEXIST);
	first = kernel_map_lookup(MAP(ports_seen), &endpoint);
	if (first && *first != port)
		witness(MULTIPLE_PORTS);
}

INLINE enum allocation map_port(const struct applicant *applicant, __u16 *port)
{
	struct scan scan = {};
	enum allocation allocation;

	if (established_port(applicant->config, &applicant->endpoint, applicant->transport,
			     applicant->peer, applicant->now, port))
		return ALLOCATED;
	allocation = allocate(applicant, port);
	if (allocation == ALLOCATION_NO_FREE) {
		scan.start = (__u64)kernel_random() * applicant->config->port_count >> 32;
		allocation = reclaim(applicant, &scan, port);
	}
	return allocation;
}

PROGRAM int napt44_stress(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	struct transport transport = {.index = INDEX_UDP};
	__u32 random = kernel_random();
	struct applicant applicant = {
		.config = config,
		.transport = &transport,
		.endpoint = {.ipv4 = 0x0a000000 | (random % HOSTS),
			     .port = 1,
			     .protocol = INDEX_UDP},
		.peer = 1,
		.now = current_tick(config),
	};
	enum allocation allocation;
	__u16 port = 0;

	allocation = map_port(&applicant, &port);
	if (allocation == ALLOCATED)
		look(config, applicant.endpoint, port);
	else if (allocation != ALLOCATION_RETRY) /* a packet would begin again */
		witness(REFUSED);
	return TC_ACT_OK;
}
