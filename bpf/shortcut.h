/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Shortcuts: connections whose packets the kernel has let through in both directions, and what it
 * did with them (docs/accelerator.md). They are learnt behind the kernel: upstream as packets leave
 * the WAN, downstream as they leave the LAN interface. So its firewall, routes and neighbours decide.
 *
 *   FREE, or long over ── compare-and-swap ──► CLAIMED ── fill ── exchange ──► SEEN, or CONFIRMED
 *   SEEN ── an answer left into the LAN ──► CONFIRMED ── its time ran out ──► the kernel is asked
 *
 * What is read is never being written: a place changes hands GRACE_TICKS after its time is over,
 * and nobody begins to read what is not CONFIRMED, or over. */
#ifndef MAPXDP_SHORTCUT_H
#define MAPXDP_SHORTCUT_H

#include "napt44_share.h"

/* One direction of a connection, as struct shortcut has it. */
struct shortcut_key {
	__u64 ends;
	__u32 ports;
	__u8 protocol;
};

INLINE __u64 shortcut_life(__u32 until, enum shortcut_state state, __u64 flags)
{
	return until | (__u64)state << SHORTCUT_STATE_SHIFT | flags << SHORTCUT_FLAGS_SHIFT;
}

INLINE enum shortcut_state shortcut_state(__u64 life)
{
	return life >> SHORTCUT_STATE_SHIFT & 0xff;
}

INLINE __u64 shortcut_flags(__u64 life)
{
	return life >> SHORTCUT_FLAGS_SHIFT;
}

/* Ticks that are left; negative where it is over. */
INLINE __s32 shortcut_ticks_left(__u64 life, __u32 now)
{
	return (__s32)((__u32)life - now);
}

/* Keyed, so that nobody can choose whose places his connections take; one round, as it is worked
 * out for each packet. */
INLINE __u64 shortcut_hash(const struct config *config, const struct shortcut_key *key)
{
	__u64 hash = (key->ends ^ config->hash_key) * 0xd6e8feb86659fd93ULL;

	hash ^= (key->ports + ((__u64)key->protocol << 32)) * 0x9e3779b97f4a7c15ULL;
	hash ^= hash >> 32;
	hash *= 0xd6e8feb86659fd93ULL;
	return hash ^ hash >> 32;
}

/* The place that is looked at `way`th. */
INLINE struct shortcut *shortcut_at(void *table, const struct config *config, __u64 hash, __u32 way)
{
	__u32 set = hash & config->shortcut_mask & ~(SHORTCUT_WAYS - 1U);
	__u32 index = set | (((hash >> 32) + way) & (SHORTCUT_WAYS - 1));

	return kernel_map_lookup(table, &index);
}

INLINE _Bool is_of_key(const struct shortcut *shortcut, const struct shortcut_key *key)
{
	return shortcut->ends == key->ends && shortcut->ports == key->ports &&
	       shortcut->protocol == key->protocol;
}

INLINE __be32 remote_of(const struct shortcut *shortcut)
{
	return shortcut->ends >> SHORTCUT_REMOTE_SHIFT;
}

INLINE __u16 local_port_of(const struct shortcut *shortcut)
{
	return shortcut->ports;
}

INLINE __u16 remote_port_of(const struct shortcut *shortcut)
{
	return shortcut->ports >> SHORTCUT_PORT_SHIFT;
}

INLINE struct shortcut *find_shortcut(void *table, const struct config *config,
				      const struct shortcut_key *key)
{
	__u64 hash = shortcut_hash(config, key);

#pragma clang loop unroll(full)
	for (__u32 way = 0; way < SHORTCUT_WAYS; way++) {
		struct shortcut *shortcut = shortcut_at(table, config, hash, way);

		if (shortcut && is_of_key(shortcut, key))
			return shortcut;
	}
	return 0;
}

/* True if the place, whose life was this, is ours alone now. */
INLINE _Bool claim_place(struct shortcut *shortcut, __u64 life)
{
	__u64 claimed = shortcut_life(0, SHORTCUT_CLAIMED, 0);

	return __sync_val_compare_and_swap(&shortcut->life, life, claimed) == life;
}

/* A place that is nobody's any more, claimed; 0 where all are in use. */
INLINE struct shortcut *claim_shortcut(void *table, const struct config *config,
				       const struct shortcut_key *key, __u32 now)
{
	__u64 hash = shortcut_hash(config, key);

#pragma clang loop unroll(full)
	for (__u32 way = 0; way < SHORTCUT_WAYS; way++) {
		struct shortcut *shortcut = shortcut_at(table, config, hash, way);
		__u64 life;

		if (!shortcut)
			return 0;
		life = READ_ONCE(shortcut->life);
		if (shortcut_state(life) == SHORTCUT_CLAIMED ||
		    (shortcut_state(life) != SHORTCUT_FREE &&
		     shortcut_ticks_left(life, now) >= -GRACE_TICKS))
			continue;
		if (claim_place(shortcut, life))
			return shortcut;
	}
	return 0;
}

/* Nobody uses it after this tick, unless the kernel lets another packet through. */
INLINE void end_shortcut(struct shortcut *shortcut, __u64 life, __u32 now)
{
	__sync_val_compare_and_swap(&shortcut->life, life,
				    shortcut_life(now - 1, SHORTCUT_SEEN, shortcut_flags(life)));
}

/* Two calls, not one with either map: the verifier inlines a look-up in a map that it knows. */
INLINE struct mapping *mapping_of(const struct shortcut *shortcut)
{
	struct mapping *flow;

	if (shortcut->owner_state != SLOT_FLOW)
		return slot_at(shortcut->mapping);
	flow = flow_at(shortcut->mapping);
	OPAQUE(flow);
	return flow;
}

INLINE __u64 owner_of_shortcut(const struct shortcut *shortcut, __u16 host_port)
{
	struct endpoint endpoint = {.ipv4 = shortcut->host, .port = host_port};

	return owner_word(&endpoint, shortcut->owner_state);
}

/* Whether the mapping is the one it was, whatever happened to its connection. */
INLINE _Bool is_same_mapping(const struct shortcut *shortcut, struct mapping *mapping,
			     __u16 host_port)
{
	return READ_ONCE(mapping->owner) == owner_of_shortcut(shortcut, host_port) &&
	       READ_ONCE(mapping->generation) == shortcut->generation;
}

/* Whether packets may take it now. */
INLINE _Bool is_usable(const struct shortcut *shortcut, __u32 now)
{
	__u64 life = READ_ONCE(shortcut->life);

	return shortcut_state(life) == SHORTCUT_CONFIRMED && shortcut_ticks_left(life, now) >= 0;
}

/* Its mapping, if it is the one it was, in the state that it was in; else 0. By time it cannot have
 * ended: `life` ends before. */
INLINE struct mapping *unchanged_mapping(const struct shortcut *shortcut, __u16 host_port)
{
	struct mapping *mapping = mapping_of(shortcut);

	if (!mapping || !is_same_mapping(shortcut, mapping, host_port) ||
	    READ_ONCE(mapping->flags) != shortcut_flags(READ_ONCE(shortcut->life)))
		return 0;
	return mapping;
}

/* How long a shortcut of this mapping lasts from now on: it ends before the mapping may. */
INLINE __u32 shortcut_until(const struct config *config, const struct mapping *mapping, __u32 now)
{
	__u32 until = now + config->shortcut_ticks;
	__u32 end = READ_ONCE(mapping->tick_46) + timeout_of(config, mapping, PRESSURE_NONE);

	return (__s32)(end - until) < 0 ? end : until;
}

/* What opens, closes or resets a connection is for the kernel to see. */
INLINE _Bool changes_connection(const struct transport *transport)
{
	return transport->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST);
}

/* A port beside the remote's address; echo messages have one identifier, the LAN host's. */
INLINE struct shortcut_key shortcut_key(enum protocol_index protocol, __be32 local, __u16 port,
					__be32 remote, __u16 remote_port)
{
	__u32 beside_remote = protocol == INDEX_ICMP ? 0 : remote_port;
	struct shortcut_key key = {
		.ends = local | (__u64)remote << SHORTCUT_REMOTE_SHIFT,
		.ports = port | beside_remote << SHORTCUT_PORT_SHIFT,
		.protocol = protocol,
	};

	return key;
}

#endif
