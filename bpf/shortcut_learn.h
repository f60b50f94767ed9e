/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Keeping what the kernel did with a packet: a new shortcut, or more time for an old one. */
#ifndef MAPXDP_SHORTCUT_LEARN_H
#define MAPXDP_SHORTCUT_LEARN_H

#include "shortcut.h"

INLINE void copy_words(__u16 *to, const __u16 *from, __u32 count)
{
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < count; i++)
		to[i] = from[i];
}

INLINE _Bool are_same_words(const __u16 *one, const __u16 *other, __u32 count)
{
	__u32 difference = 0;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < count; i++)
		difference |= one[i] ^ other[i];
	return !difference;
}

enum { HOP_WORDS = 6, OWN_WORDS = 3 };

/* The frame's link-layer addresses, as the kernel made them: to, from. */
INLINE _Bool read_hop(const void *data, const void *end, __u16 hop[HOP_WORDS])
{
	if (data + HOP_WORDS * sizeof(*hop) > end)
		return 0;
	copy_words(hop, data, HOP_WORDS);
	return 1;
}

/* Where a shortcut is put together; nothing in it is known. */
INLINE struct shortcut *shortcut_in_work(void)
{
	__u32 index = 0;

	return kernel_map_lookup(MAP(shortcut_work), &index);
}

/* All but its life, its key, and what the readers note. */
INLINE _Bool is_same_shortcut(const struct shortcut *old, const struct shortcut *fresh)
{
	return old->mapping == fresh->mapping && old->generation == fresh->generation &&
	       old->owner_state == fresh->owner_state && old->ifindex == fresh->ifindex &&
	       old->translated_port == fresh->translated_port && old->host == fresh->host &&
	       are_same_words(old->hop, fresh->hop, HOP_WORDS) &&
	       are_same_words(old->own, fresh->own, OWN_WORDS);
}

/* Fills a claimed place and opens it. The first to read it asks for the route. */
INLINE void open_shortcut(struct shortcut *place, const struct shortcut_key *key,
			  const struct shortcut *fresh, __u64 life, __u32 now)
{
	place->ends = key->ends;
	place->ports = key->ports;
	place->protocol = key->protocol;
	place->owner_state = fresh->owner_state;
	copy_words(place->hop, fresh->hop, HOP_WORDS);
	copy_words(place->own, fresh->own, OWN_WORDS);
	place->host = fresh->host;
	place->mapping = fresh->mapping;
	place->generation = fresh->generation;
	place->checked = now - 1;
	place->ifindex = fresh->ifindex;
	place->mtu = 0;
	place->translated_port = fresh->translated_port;
	__sync_lock_test_and_set(&place->life, life);
}

/* More time for what is as it was, at most once a tick; confirmed once is confirmed. */
INLINE void prolong_shortcut(struct shortcut *old, __u64 life, enum shortcut_state state,
			     __u64 fresh)
{
	__u64 wanted;

	if (shortcut_state(life) == SHORTCUT_CONFIRMED)
		state = SHORTCUT_CONFIRMED;
	wanted = shortcut_life(fresh, state, shortcut_flags(fresh));
	if (wanted != life)
		__sync_val_compare_and_swap(&old->life, life, wanted);
}

/* What was learnt about `key`, whose place, if it has one, is `old`. `life`: of a new shortcut. */
INLINE void keep_shortcut(void *table, const struct config *config, const struct shortcut_key *key,
			  struct shortcut *old, const struct shortcut *fresh, __u64 life, __u32 now)
{
	struct shortcut *place = 0;

	if (old) {
		__u64 former = READ_ONCE(old->life);

		if (shortcut_state(former) == SHORTCUT_CLAIMED)
			return;
		if (is_same_shortcut(old, fresh))
			return prolong_shortcut(old, former, shortcut_state(life), life);
		if (shortcut_ticks_left(former, now) >= 0)
			return end_shortcut(old, former, now);
		if (shortcut_ticks_left(former, now) >= -GRACE_TICKS)
			return;
		if (claim_place(old, former))
			place = old;
	} else {
		place = claim_shortcut(table, config, key, now);
	}
	if (place)
		open_shortcut(place, key, fresh, life, now);
}

#endif
