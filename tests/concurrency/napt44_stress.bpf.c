/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* NAPT44 for a random endpoint and remote, again and again, with witnesses who see two of one
 * thing. One program takes ports of its own, one takes flows, one ends them too: together they
 * are too much for the verifier.
 *
 * No packet is needed: the functions under test are those of the datapath, in the order in which
 * its ladder calls them. The witnesses are right only while no mapping expires.
 */
#include "napt44_share.h"
#include "sweep.h"

#define MULTIPLE_PORTS	1 /* an endpoint was seen with two ports, towards one remote if shared */
#define MULTIPLE_OWNERS 2 /* a port was seen with two endpoints, towards one remote if shared */
#define OUTSIDE_SET	3
#define REFUSED		4 /* although ports were free */
#define LOST_FLOW	5 /* nobody ended it, but its port is not shared, or its claim another's */

HELPER(__u32, this_cpu, BPF_FUNC_get_smp_processor_id, void);

INLINE void witness(__u32 what)
{
	__u64 *count = kernel_map_lookup(MAP(violations), &what);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* `remote` counts from 1; 0 where the port is the endpoint's own. */
INLINE void look(const struct applicant *applicant, __u32 remote, __u16 port)
{
	struct port_set set = port_set_of(applicant->config);
	struct endpoint endpoint = applicant->endpoint;
	__u64 who = owner_word(&endpoint, SLOT_EIM);
	__u32 key = remote << 16 | port;
	__u64 *owner = kernel_map_lookup(MAP(owners_seen), &key);
	__u64 seen_port = port;
	__u64 *first;

	if (!port_in_set(&set, port))
		witness(OUTSIDE_SET);
	if (owner) {
		__u64 before = __sync_val_compare_and_swap(owner, 0, who);

		if (before && before != who)
			witness(MULTIPLE_OWNERS);
	}
	endpoint.zero = remote;
	kernel_map_update(MAP(ports_seen), &endpoint, &seen_port, BPF_NOEXIST);
	first = kernel_map_lookup(MAP(ports_seen), &endpoint);
	if (first && *first != port)
		witness(MULTIPLE_PORTS);
}

INLINE struct applicant anybody(const struct config *config, const struct transport *transport,
				__u32 remote)
{
	struct applicant applicant = {
		.config = config,
		.transport = transport,
		.endpoint = {.ipv4 = 0x0a000000 | ((kernel_random() & 0xffff) % STRESS_HOSTS),
			     .port = 1,
			     .protocol = INDEX_UDP},
		.peer = remote,
		.now = current_tick(config),
	};

	return applicant;
}

/* A port that has expired, or is free, and now `wanted`'s; NULL where none was found. */
INLINE struct mapping *take_expired(const struct applicant *applicant, __u64 wanted,
				    __u32 *position)
{
	struct scan scan = {
		.config = applicant->config,
		.index = INDEX_UDP,
		.start = random_position(applicant->config->port_count),
		.now = applicant->now,
		.host = applicant->endpoint.ipv4,
		.free_too = 1,
	};

	*position = find_expired_slot(&scan);
	return *position < SLOTS ? take_over(applicant, *position, wanted, 1, PRESSURE_NONE) : 0;
}

INLINE enum allocation take_own(const struct applicant *applicant, __u16 *port)
{
	enum allocation result;
	struct mapping *slot;
	__u32 position;

	if (own_port(applicant, port))
		return ALLOCATED;
	result = allocate(applicant, port);
	if (result != ALLOCATION_NONE)
		return result;
	slot = take_expired(applicant, owner_word(&applicant->endpoint, SLOT_CLAIMED), &position);
	return slot ? establish(applicant, slot, position, port) : ALLOCATION_NONE;
}

PROGRAM int stress_own(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	struct transport transport = {.index = INDEX_UDP};
	struct applicant applicant = anybody(config, &transport, 1);
	__u16 port = 0;

	switch (take_own(&applicant, &port)) {
	case ALLOCATED:
		look(&applicant, 0, port);
		break;
	case ALLOCATION_RETRY: /* a packet would begin again */
		break;
	default:
		witness(REFUSED);
	}
	return TC_ACT_OK;
}

/* A port for a flow: free from now on, or shared already, perhaps after its flow was ended. The
 * search begins at the first port, not at home: so one look sees all of them. */
INLINE __u32 find_port(const struct applicant *applicant, _Bool *joined)
{
	struct share_scan scan = {};
	__u32 home = home_of(applicant);
	struct place place;
	__u32 position;

	if (pool_below_target(applicant) && is_marked_free(INDEX_UDP, home))
		return share_free_port(applicant, home);
	place = find_shared_port(applicant, &scan);
	if (place.victim != NOWHERE) {
		*joined = place.position < SLOTS &&
			  join_slot(INDEX_UDP * SLOTS + place.position, INDEX_UDP);
		release_flow(applicant->config, place.victim, applicant->now, PRESSURE_NONE);
		return *joined ? place.position : NOWHERE;
	}
	if (place.position < SLOTS)
		return place.position;
	if (!take_expired(applicant, SHARED_OWNER, &position))
		return NOWHERE;
	note_shared(INDEX_UDP, position);
	return position;
}

PROGRAM int stress_flow(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	struct transport transport = {.index = INDEX_UDP};
	__u32 remote = 1 + (kernel_random() & 3);
	struct applicant applicant = anybody(config, &transport, remote);
	__u32 stale, position;
	_Bool joined = 0;
	__u16 port = 0;

	if (flow_port(&applicant, &port)) {
		look(&applicant, remote, port);
		return TC_ACT_OK;
	}
	stale = flow_lookup(flow_key_46(&applicant.endpoint, applicant.peer));
	if (stale != NOWHERE) {
		release_flow(config, stale, applicant.now, PRESSURE_NONE);
		return TC_ACT_OK;
	}
	position = find_port(&applicant, &joined);
	if (position >= SLOTS)
		return TC_ACT_OK;
	if (establish_flow(&applicant, find_free_flow(), position & PORT_MASK, joined, &port) ==
	    ALLOCATED)
		look(&applicant, remote, port);
	return TC_ACT_OK;
}

/* The flow of this CPU's endpoint, which no other CPU ends. Whoever thinks of freeing its port
 * makes it dying first, and shared again when he sees the flow. */
INLINE void inspect(const struct applicant *applicant, __u32 index)
{
	struct mapping *flow = flow_at(index);
	struct mapping *slot = flow ? slot_at(READ_ONCE(flow->slot)) : 0;
	enum slot_state state = slot ? owner_state(READ_ONCE(slot->owner)) : SLOT_FREE;

	if ((state != SLOT_SHARED && state != SLOT_DYING) ||
	    flow_lookup(flow_key_64(READ_ONCE(flow->slot), INDEX_UDP, applicant->peer)) != index)
		witness(LOST_FLOW);
}

/* Begins a flow of an endpoint of this CPU, or ends it. */
PROGRAM int stress_turns(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	struct transport transport = {.index = INDEX_UDP};
	struct applicant applicant = anybody(config, &transport, 1 + (kernel_random() & 1));
	_Bool joined = 0;
	struct mapping *flow;
	__u32 index, position;
	__u64 owner;
	__u16 port;

	applicant.endpoint.ipv4 |= (this_cpu() & 0xff) << 16;
	owner = owner_word(&applicant.endpoint, SLOT_FLOW);
	index = flow_lookup(flow_key_46(&applicant.endpoint, applicant.peer));
	if (index == NOWHERE) {
		position = find_port(&applicant, &joined);
		if (position < SLOTS &&
		    establish_flow(&applicant, find_free_flow(), position & PORT_MASK, joined,
				   &port) == ALLOCATED)
			inspect(&applicant,
				flow_lookup(flow_key_46(&applicant.endpoint, applicant.peer)));
		return TC_ACT_OK;
	}
	inspect(&applicant, index);
	flow = flow_at(index);
	if (flow && swap_owner(flow, owner, with_state(owner, SLOT_DYING)))
		end_flow(config, flow, index, owner, applicant.now);
	return TC_ACT_OK;
}

PROGRAM int stress_sweep(struct __sk_buff *skb)
{
	const struct config *config = active_config();

	sweep(config, current_tick(config));
	return TC_ACT_OK;
}
