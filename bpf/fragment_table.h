/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragmented datagrams: what becomes of their fragments, and those that are kept until all have
 * come (docs/decisions/0012-fragments-in-bpf.md).
 *
 *   FREE ── compare-and-swap ──► BUSY ── exchange ──► KEPT ── compare-and-swap ──► BUSY …
 *                                     └─ exchange ──► COMPLETE ── compare-and-swap ──► BUSY ──► FREE
 *
 * A buffer is used by one program run at a time, and a run always ends: nobody waits. The entry
 * of a key is only an index: each hit is checked against the key in the buffer.
 */
#ifndef MAPXDP_FRAGMENT_TABLE_H
#define MAPXDP_FRAGMENT_TABLE_H

#include "config.h"
#include "counters.h"
#include "fragment.h"
#include "pool.h"

/* This CPU's: a program run is not interrupted by another one. */
INLINE struct fragment_work *fragment_work(void)
{
	__u32 only = 0;

	return kernel_map_lookup(MAP(fragment_work), &only);
}

INLINE struct fragment_entry *fragments_lookup(const struct fragment_key *key)
{
	return kernel_map_lookup(MAP(fragments), key);
}

INLINE void fragments_remember(const struct fragment_work *work)
{
	kernel_map_update(MAP(fragments), &work->key, &work->entry, BPF_ANY);
}

INLINE void fragments_forget(const struct fragment_key *key)
{
	kernel_map_delete(MAP(fragments), key);
}

INLINE struct datagram *datagram_at(__u32 index)
{
	return kernel_map_lookup(MAP(datagrams), &index);
}

/* True if the buffer was in use as `from` and is now as `to`. */
INLINE _Bool swap_use(struct datagram *datagram, enum datagram_use from, enum datagram_use to)
{
	return __sync_val_compare_and_swap(&datagram->use, from, to) == from;
}

INLINE void publish_use(struct datagram *datagram, enum datagram_use use)
{
	__sync_lock_test_and_set(&datagram->use, use);
}

INLINE void key_of_ipv4(const struct ipv4_header *header, struct fragment_key *key)
{
	*key = (struct fragment_key){
		.source = {header->source},
		.destination = {header->destination},
		.identification = host16(header->identification),
		.kind = FRAGMENTS_46,
		.protocol = header->protocol,
	};
}

/* Of IPv4 in IPv6: who is at the other end of the tunnel is in it, too. */
INLINE void key_of_inner(const __be32 outer_source[4], const struct ipv4_header *header,
			 struct fragment_key *key)
{
	*key = (struct fragment_key){
		.destination = {header->source, header->destination},
		.identification = host16(header->identification),
		.kind = FRAGMENTS_INNER,
		.protocol = header->protocol,
	};
	__builtin_memcpy(key->source, outer_source, sizeof(key->source));
}

INLINE void key_of_ipv6(const struct ipv6_view *ipv6, const struct fragment *fragment,
			struct fragment_key *key)
{
	*key = (struct fragment_key){
		.identification = fragment->identification,
		.kind = FRAGMENTS_IPV6,
	};
	__builtin_memcpy(key->source, ipv6->source, sizeof(key->source));
	__builtin_memcpy(key->destination, ipv6->destination, sizeof(key->destination));
}

INLINE _Bool same_key(const struct fragment_key *one, const struct fragment_key *other)
{
	const __u64 *a = (const __u64 *)one;
	const __u64 *b = (const __u64 *)other;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]));
}

INLINE _Bool is_forgotten(__u32 tick, __u32 now)
{
	return (__s32)(now - tick) > FRAGMENT_TICKS;
}

/* What becomes of a fragment with this key; where it is kept, the position of the `buffer`. */
INLINE enum fragment_fate fate_of(const struct fragment_key *key, __u32 now,
				  enum direction direction, __u32 *buffer)
{
	const struct fragment_entry *entry = fragments_lookup(key);
	struct datagram *datagram;
	_Bool forgotten;

	if (!entry)
		return FATE_NONE;
	forgotten = is_forgotten(entry->tick, now);
	if (entry->fate != FATE_KEPT)
		return forgotten ? FATE_NONE : entry->fate;
	*buffer = entry->buffer;
	datagram = datagram_at(entry->buffer);
	if (!datagram || !same_key(&datagram->key, key))
		return FATE_NONE;
	if (!forgotten) {
		if (READ_ONCE(datagram->use) == DATAGRAM_FREE)
			return FATE_NONE;
		return READ_ONCE(datagram->use) == DATAGRAM_COMPLETE ? FATE_COMPLETE : FATE_KEPT;
	}
	if (swap_use(datagram, DATAGRAM_KEPT, DATAGRAM_BUSY)) {
		count_event(direction, REASON_FRAGMENTS_EXPIRED);
		publish_use(datagram, DATAGRAM_FREE);
	}
	return FATE_NONE;
}

/* The position of a buffer that was free, or whose datagram is forgotten, and is now ours;
 * NOWHERE where there is none. */
INLINE __u32 claim_datagram(__u32 now, enum direction direction)
{
	__u64 was = DATAGRAM_FREE;
	__u32 found = NOWHERE;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < DATAGRAMS; i++) {
		struct datagram *datagram = datagram_at(i);
		__u64 use;

		if (!datagram)
			break;
		use = READ_ONCE(datagram->use);
		if (use == DATAGRAM_BUSY || (use && !is_forgotten(READ_ONCE(datagram->tick), now)))
			continue;
		if (!swap_use(datagram, use, DATAGRAM_BUSY))
			continue;
		was = use;
		/* Nothing is added: the verifier, which would follow the rest of the program
		 * for each buffer, loses sight of which one it is. */
		found = i + READ_ONCE(datagram->nothing);
		break;
	}
	if (was != DATAGRAM_FREE)
		count_event(direction, REASON_FRAGMENTS_EXPIRED);
	return found;
}

/* A buffer for a new datagram, exclusively ours; its fragments will find it. NULL: all are in
 * use. */
INLINE struct datagram *begin_datagram(struct fragment_work *work, __u32 now,
				       enum direction direction)
{
	__u32 index = claim_datagram(now, direction);
	struct datagram *datagram;

	if (index >= DATAGRAMS)
		return 0;
	datagram = datagram_at(index);
	if (!datagram)
		return 0;
	datagram->key = work->key;
	datagram->tick = now;
	datagram->received = 0;
	datagram->total = 0;
	datagram->end = 0;
	datagram->count = 0;
	datagram->start = 0;
	work->entry = (struct fragment_entry){.tick = now, .fate = FATE_KEPT, .buffer = index};
	fragments_remember(work);
	return datagram;
}

/* A buffer for a packet that is to be cut, exclusively ours. */
INLINE struct datagram *begin_cutting(__u32 now, enum direction direction, __u32 *buffer)
{
	struct datagram *datagram;

	*buffer = claim_datagram(now, direction);
	if (*buffer >= DATAGRAMS)
		return 0;
	datagram = datagram_at(*buffer);
	if (!datagram)
		return 0;
	datagram->key = (struct fragment_key){};
	datagram->start = 0;
	return datagram;
}

/* The buffer that a fate named, exclusively ours; NULL where another CPU is at it. */
INLINE struct datagram *take_datagram(const struct fragment_key *key, __u32 buffer,
				      enum datagram_use use)
{
	struct datagram *datagram = datagram_at(buffer);

	if (!datagram || !swap_use(datagram, use, DATAGRAM_BUSY))
		return 0;
	if (same_key(&datagram->key, key))
		return datagram;
	publish_use(datagram, use);
	return 0;
}

/* A datagram that is ours is given up, and its key forgotten. */
INLINE void end_datagram(struct datagram *datagram)
{
	fragments_forget(&datagram->key);
	publish_use(datagram, DATAGRAM_FREE);
}

/* A datagram in a buffer of ours gets the key in the work. */
INLINE void rename_datagram(struct fragment_work *work, struct datagram *datagram, __u32 buffer)
{
	fragments_forget(&datagram->key);
	datagram->key = work->key;
	work->entry = (struct fragment_entry){
		.tick = datagram->tick,
		.fate = FATE_KEPT,
		.buffer = buffer,
	};
	fragments_remember(work);
}

/* What a complete datagram was to become was dropped. */
INLINE void abandon_datagram(const struct fragment_key *key, __u32 now, enum direction direction)
{
	struct datagram *datagram;
	__u32 buffer = 0;

	if (fate_of(key, now, direction, &buffer) != FATE_COMPLETE)
		return;
	datagram = take_datagram(key, buffer, DATAGRAM_COMPLETE);
	if (datagram)
		end_datagram(datagram);
}

/* How a fragment lies to those that came before. */
struct neighbours {
	__u32 overlaps;
	__u32 duplicates;
};

/* Without branches: every fragment is compared with every other one. */
INLINE struct neighbours compare_fragments(const struct datagram *datagram,
					   const struct fragment *fragment)
{
	__u32 end = fragment->offset + fragment->length;
	__u32 count = datagram->count;
	struct neighbours found = {};

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < FRAGMENTS_MAX; i++) {
		__u32 offset = datagram->fragments[i].offset;
		__u32 length = datagram->fragments[i].length;
		__u32 is_one = i - count;
		__u32 begins_before = offset - end;
		__u32 ends_behind = fragment->offset - offset - length;
		__u32 differs = (offset ^ fragment->offset) | (length ^ fragment->length);

		found.overlaps |= is_one & begins_before & ends_behind;
		found.duplicates |= is_one & (differs - 1);
		OPAQUE(found.overlaps);
		OPAQUE(found.duplicates);
	}
	found.overlaps >>= 31;
	found.duplicates >>= 31;
	return found;
}

/* Another end of the datagram was told before, or octets behind this one came. */
INLINE _Bool contradicts(const struct datagram *datagram, const struct fragment *fragment)
{
	__u32 end = fragment->offset + fragment->length;

	if (fragment->more)
		return datagram->total && end >= datagram->total;
	return datagram->total ? end != datagram->total : end < datagram->end;
}

enum joining {
	JOINED,
	JOINED_LAST,	  /* all have come */
	JOINING_REFUSED,  /* the fragment alone is wrong */
	JOINING_OVERLAPS, /* the whole datagram is (RFC 8200 section 4.5) */
};

/* Enters a fragment into the list of those that came. The buffer is ours. */
INLINE enum joining join_fragment(struct datagram *datagram, const struct fragment *fragment)
{
	__u32 end = fragment->offset + fragment->length;
	struct neighbours found = compare_fragments(datagram, fragment);
	__u32 count = datagram->count;

	if (contradicts(datagram, fragment) || found.duplicates)
		return JOINING_REFUSED;
	if (found.overlaps)
		return JOINING_OVERLAPS;
	OPAQUE(count);
	if (count >= FRAGMENTS_MAX)
		return JOINING_REFUSED;
	datagram->fragments[count].offset = fragment->offset;
	datagram->fragments[count].length = fragment->length;
	datagram->count = count + 1;
	datagram->received += fragment->length;
	if (end > datagram->end)
		datagram->end = end;
	if (!fragment->more)
		datagram->total = end;
	return datagram->received == datagram->total ? JOINED_LAST : JOINED;
}

/* The datagram is dropped, and what still comes of it. */
INLINE void drop_overlapped(struct fragment_work *work, struct datagram *datagram, __u32 now)
{
	work->entry = (struct fragment_entry){.tick = now, .fate = FATE_OVERLAPPED};
	fragments_remember(work);
	publish_use(datagram, DATAGRAM_FREE);
}

enum { SUMMED_AT_ONCE = 512 };

INLINE void *payload_at(struct datagram *datagram, __u32 offset)
{
	OPAQUE(offset);
	return &datagram->payload[offset & (DATAGRAM_SPACE - 1)];
}

/* The sum of the first `length` octets in a buffer. What lies behind them is overwritten. */
INLINE __u32 sum_payload(struct datagram *datagram, __u32 length)
{
	__u8 *behind = payload_at(datagram, length);
	__u32 sum = 0;

	behind[0] = 0;
	behind[1] = 0;
	behind[2] = 0;
#pragma clang loop unroll(disable)
	for (__u32 at = 0; at < PIECE_MAX; at += SUMMED_AT_ONCE) {
		__u32 rest = length - at;

		OPAQUE(rest);
		if ((__s32)rest <= 0)
			break;
		if (rest > SUMMED_AT_ONCE)
			rest = SUMMED_AT_ONCE;
		rest = (rest + 3) & ~3U;
		OPAQUE(rest);
		sum = kernel_csum_diff(0, 0, &datagram->payload[at],
				       rest & (2 * SUMMED_AT_ONCE - 1), sum);
	}
	return sum;
}

#endif
