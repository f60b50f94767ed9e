/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who may send to a port that an endpoint owns (RFC 4787 section 5, RFC 7599 section 13).
 *
 * The first peer is in the slot. Others get a permission when the owner sends to them, which
 * lasts as long as the mapping would, and ends with it: the slot's generation is in its key.
 * Permissions are in a hash that forgets the oldest when full; the owner's next packet gives a
 * lost one back. */
#ifndef MAPXDP_FILTERING_H
#define MAPXDP_FILTERING_H

#include "napt44.h"

INLINE enum filtering filtering_of(const struct config *config, __u32 index)
{
	OPAQUE(index);
	return index < PROTOCOLS ? config->filtering[index] : FILTERING_APDF;
}

INLINE struct permission_key permission_key(enum filtering filtering, const struct mapping *slot,
					    __u32 slot_index, __u64 peer)
{
	struct permission_key key = {
		.slot = slot_index,
		.generation = READ_ONCE(slot->generation),
		.remote = peer,
		.remote_port = filtering == FILTERING_APDF ? peer >> OWNER_PORT_SHIFT : 0,
	};

	return key;
}

/* The owner of the slot sends to a remote that is not its first. */
INLINE void permit(const struct applicant *applicant, const struct mapping *slot, __u32 slot_index)
{
	enum filtering filtering = filtering_of(applicant->config, applicant->endpoint.protocol);
	struct permission_key key = permission_key(filtering, slot, slot_index, applicant->peer);
	__u64 now = applicant->now;
	__u64 *since;

	if (filtering == FILTERING_EIF)
		return;
	since = kernel_map_lookup(MAP(permissions), &key);
	if (!since)
		kernel_map_update(MAP(permissions), &key, &now, BPF_ANY);
	else if (READ_ONCE(*since) != now)
		WRITE_ONCE(*since, now);
}

INLINE _Bool is_permitted(const struct config *config, const struct mapping *slot, __u32 slot_index,
			  enum filtering filtering, __u64 peer, __u32 now)
{
	struct permission_key key = permission_key(filtering, slot, slot_index, peer);
	const __u64 *since = kernel_map_lookup(MAP(permissions), &key);

	if (!since)
		return 0;
	return (__s32)(now - (__u32)READ_ONCE(*since)) <= timeout_of(config, slot, PRESSURE_NONE);
}

INLINE _Bool may_enter(const struct config *config, const struct mapping *slot, __u32 slot_index,
		       __u32 protocol, __u64 peer, __u32 now)
{
	enum filtering filtering = filtering_of(config, protocol);
	__u64 first = READ_ONCE(slot->peer);

	if (filtering == FILTERING_EIF || first == peer)
		return 1;
	if (filtering == FILTERING_ADF && (__u32)first == (__u32)peer)
		return 1;
	return is_permitted(config, slot, slot_index, filtering, peer, now);
}

#endif
